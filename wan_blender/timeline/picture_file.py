# SPDX-License-Identifier: GPL-3.0-or-later
"""What the file of a picture or movie holds, as Blender would read it: size, depth, alpha.

PNG and JPEG say it in their first bytes, so that thousands of them can be looked at; Blender opens
the others. PNG: https://www.w3.org/TR/png-3/, JPEG: ITU-T T.81, annex B.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import bpy
import numpy as np

from ..light import exr

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
GRAY_ALPHA, RGB_ALPHA = 4, 6
FRAMES_OF_JPEG = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start-of-frame markers


@dataclass(frozen=True)
class PictureFile:
    """``size`` (width, height) is (0, 0) where the file cannot be read; ``is_deep`` is more than 8
    bits a channel."""

    size: tuple[int, int]
    is_deep: bool
    has_alpha: bool


def look(path: str) -> PictureFile:
    """Look at a file. Raises OSError where it is not there."""
    with open(path, "rb") as file:
        start = file.read(len(PNG))
        if start == PNG:
            found = _png(file)
        else:
            found = _jpeg(file) if start[:2] == JPEG else None
    return found or _ask_blender(path, start[:4] == exr.MAGIC)


def _png(file: IO[bytes]) -> PictureFile | None:
    """From IHDR, and whether a tRNS chunk follows before the pixels."""
    header = file.read(25)
    if len(header) < 25 or header[4:8] != b"IHDR":
        return None
    width, height, bits, kind = struct.unpack(">IIBB", header[8:18])
    has_alpha = kind in (GRAY_ALPHA, RGB_ALPHA)
    while not has_alpha:
        chunk = file.read(8)
        if len(chunk) < 8 or chunk[4:] == b"IDAT":
            break
        has_alpha = chunk[4:] == b"tRNS"
        file.seek(struct.unpack(">I", chunk[:4])[0] + 4, 1)
    return PictureFile((width, height), bits == 16, has_alpha)


def _jpeg(file: IO[bytes]) -> PictureFile | None:
    """From the frame header; JPEG has no alpha and, for Blender, 8 bits."""
    file.seek(2)
    while len(marker := file.read(4)) == 4 and marker[0] == 0xFF:
        length = struct.unpack(">H", marker[2:])[0]
        if marker[1] in FRAMES_OF_JPEG:
            _, height, width = struct.unpack(">BHH", file.read(5).ljust(5, b"\0"))
            return PictureFile((width, height), False, False)
        file.seek(max(length - 2, 0), 1)
    return None


def _ask_blender(path: str, is_exr: bool) -> PictureFile:
    with opened(path) as image:
        size, depth = tuple(image.size), image.depth
        is_float = image.is_float or is_exr  # one with several layers only the sequencer can open
        gray_or_rgb = (32, 96) if is_float else (8, 24, 96)
        return PictureFile(size, is_float, depth not in gray_or_rgb)


def is_png(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(len(PNG)) == PNG


def read_alpha(path: Path) -> np.ndarray:
    """The alpha of a PNG or EXR file of a plate, one float for each pixel; a single 1 where it has
    none."""
    if path.suffix == ".exr":
        return exr.read(path).get("A", np.ones(1, np.float32))
    if not look(str(path)).has_alpha:
        return np.ones(1, np.float32)
    return _pixels(path)[:, 3]


def _pixels(path: Path) -> np.ndarray:
    """(pixels, 4) float32, scene-linear where the file has 16 bits."""
    with opened(str(path)) as image:
        pixels = np.empty(4 * image.size[0] * image.size[1], np.float32)
        image.pixels.foreach_get(pixels)
    return pixels.reshape(-1, 4)


@contextmanager
def opened(path: str) -> Iterator[bpy.types.Image]:
    """The file as an image of the open .blend, until it is closed."""
    image = bpy.data.images.load(path, check_existing=False)
    try:
        yield image
    finally:
        bpy.data.images.remove(image)
