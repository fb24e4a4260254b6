# SPDX-License-Identifier: GPL-3.0-or-later
"""16-bit PNG: gray for masks, and colour for plates that were rendered as floats."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LAST_CHUNK = b"\0\0\0\0IEND\xaeB`\x82"
KINDS = {1: 0, 3: 2, 4: 6}  # of colour, by channels
HEADER_AT, PIXELS_AT = 16, 33  # where write_gray16 puts the IHDR's content and the IDAT chunk


def write_gray16(path: Path, values: np.ndarray) -> None:
    """``values`` (H, W) in 0..1, linear: 1 becomes 65535."""
    write16(path, values[..., None])


def write16(path: Path, values: np.ndarray) -> None:
    """As ``write_gray16``, (H, W, C): gray, RGB or RGBA with straight alpha."""
    height, width, channels = values.shape
    levels = np.rint(np.clip(values, 0.0, 1.0) * 65535.0).astype(">u2")
    rows = levels.view(np.uint8).reshape(height, 2 * channels * width)
    scanlines = np.empty((height, 1 + rows.shape[1]), np.uint8)
    scanlines[:, 0] = 2  # filter "up": each row as its difference from the row above
    scanlines[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=scanlines[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 16, KINDS[channels], 0, 0, 0)
    packed = zlib.compress(scanlines.tobytes(), 1)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    path.write_bytes(SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks))


def read_gray16(path: Path) -> np.ndarray:
    """(H, W) float32 in 0..1 of a file that ``write_gray16`` wrote."""
    data = path.read_bytes()
    width, height = struct.unpack_from(">II", data, HEADER_AT)
    (size,) = struct.unpack_from(">I", data, PIXELS_AT)
    packed = data[PIXELS_AT + 8 : PIXELS_AT + 8 + size]
    scanlines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + 2 * width)
    rows = np.cumsum(scanlines[:, 1:], axis=0, dtype=np.uint8)  # undoes filter "up"
    return rows.view(">u2").astype(np.float32) / 65535


def is_whole(path: Path) -> bool:
    """Whether a PNG file has its last chunk."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - len(LAST_CHUNK), 0))
        return file.read() == LAST_CHUNK


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
