# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the uncompressed OpenEXR files that a matte render writes: floats, untouched.

Layout: https://openexr.com/en/latest/OpenEXRFileLayout.html
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np

MAGIC = b"\x76\x2f\x31\x01"
FLOAT = 2
HEADER_LIMIT = 1 << 16


def read(path: Path) -> dict[str, np.ndarray]:
    """Channel name to (H, W) float32. Raises ValueError unless the file is single-part, scanline,
    32-bit float and uncompressed."""
    data = path.read_bytes()
    names, width, height, position = _layout(data)
    rows = np.frombuffer(data, "<f4", height * (2 + width * len(names)), position)
    rows = rows.reshape(height, 2 + width * len(names))[:, 2:]  # each row: y, bytes, channels
    return {n: rows[:, i * width : (i + 1) * width] for i, n in enumerate(names)}


def is_whole(path: Path) -> bool:
    """Whether a file that ``read`` reads has all its rows."""
    with path.open("rb") as file:
        try:
            names, width, height, position = _layout(file.read(HEADER_LIMIT))
        except (ValueError, IndexError, KeyError, struct.error):
            return False
        return file.seek(0, os.SEEK_END) >= position + 4 * height * (2 + width * len(names))


def _layout(data: bytes) -> tuple[list[str], int, int, int]:
    """Channel names, width, height, and where the rows begin."""
    if data[:4] != MAGIC:
        raise ValueError("not an OpenEXR file")
    attributes, position = _header(data)
    if attributes["compression"] != b"\0":
        raise ValueError("an OpenEXR file that is compressed")
    names, types = _channels(attributes["channels"])
    if set(types) != {FLOAT}:
        raise ValueError("an OpenEXR file that is not 32-bit float")
    left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    return names, width, height, position + 8 * height  # offsets of the rows, which follow in order


def _header(data: bytes) -> tuple[dict[str, bytes], int]:
    """Attributes by name, and where the header ends."""
    attributes, position = {}, 8
    while data[position] != 0:
        name, position = _text(data, position)
        _, position = _text(data, position)
        (size,) = struct.unpack_from("<i", data, position)
        attributes[name] = data[position + 4 : position + 4 + size]
        position += 4 + size
    return attributes, position + 1


def _channels(data: bytes) -> tuple[list[str], list[int]]:
    names, types, position = [], [], 0
    while data[position] != 0:
        name, position = _text(data, position)
        names.append(name)
        types.append(struct.unpack_from("<i", data, position)[0])
        position += 16  # type, linearity, reserved, sampling in x and y
    return names, types


def _text(data: bytes, position: int) -> tuple[str, int]:
    end = data.index(b"\0", position)
    return data[position:end].decode("utf-8"), end + 1
