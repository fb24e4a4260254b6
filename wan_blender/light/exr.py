# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenEXR files of one part with scanlines, as Blender and the engine exchange them.

Read: half and 32-bit float, uncompressed or ZIP. Written: half, ZIP, linear Rec.709. Neither side
needs a library for it, and nothing of a file is believed: sizes are checked before memory is taken.

Layout: https://openexr.com/en/latest/OpenEXRFileLayout.html; the bytes of a ZIP block are
reordered and differenced as in OpenEXR's ImfZip.cpp.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

MAGIC = b"\x76\x2f\x31\x01"
TYPES = {1: np.dtype("<f2"), 2: np.dtype("<f4")}
ROWS = {0: 1, 2: 1, 3: 16}  # of one block, by compression: none, ZIPS, ZIP
HEADER_LIMIT = 1 << 16
LARGEST = 1 << 16  # pixels a side
REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)  # x and y of red, green, blue, white
SHRINKS = 1032  # times at most, by zlib
ZIP_LEVEL = 1  # half floats hardly shrink further


@dataclass(frozen=True)
class Layout:
    """What a file says of itself. ``names`` are its channels in the order of each row; the table of
    blocks begins at ``position``."""

    names: list[str]
    dtype: np.dtype
    width: int
    height: int
    rows: int
    position: int
    chromaticities: tuple[float, ...] | None

    @property
    def blocks(self) -> int:
        return -(-self.height // self.rows)

    @property
    def row_bytes(self) -> int:
        return self.width * len(self.names) * self.dtype.itemsize


def read(path: Path) -> dict[str, np.ndarray]:
    """As ``decode``, of a file."""
    return decode(path.read_bytes())


def decode(data: bytes) -> dict[str, np.ndarray]:
    """Channel name to (H, W), float16 or float32. Raises ValueError for other kinds of file and for
    one that is cut short."""
    layout = parse(data)
    shortest = max(layout.position + 8 * layout.blocks, layout.height * layout.row_bytes // SHRINKS)
    if len(data) < shortest:
        raise ValueError("an OpenEXR file that is cut short")
    table = np.frombuffer(data, "<u8", layout.blocks, layout.position)
    rows = np.empty((layout.height, layout.width * len(layout.names)), layout.dtype)
    for number, offset in enumerate(table.tolist()):
        first = number * layout.rows
        block = rows[first : first + layout.rows]
        block[...] = _block(data, offset, block.nbytes, layout).reshape(block.shape)
    return {
        name: rows[:, i * layout.width : (i + 1) * layout.width]
        for i, name in enumerate(layout.names)
    }


def _block(data: bytes, offset: int, size: int, layout: Layout) -> np.ndarray:
    if offset + 8 > len(data):
        raise ValueError("an OpenEXR file that is cut short")
    (stored,) = struct.unpack_from("<I", data, offset + 4)
    packed = data[offset + 8 : offset + 8 + stored]
    if len(packed) < stored:
        raise ValueError("an OpenEXR file that is cut short")
    if stored < size:
        packed = _unpacked(packed, size)
    if len(packed) != size:
        raise ValueError("an OpenEXR file with a block of the wrong size")
    return np.frombuffer(packed, layout.dtype)


def _unpacked(packed: bytes, size: int) -> bytes:
    try:
        plain = zlib.decompressobj().decompress(packed, size)
    except zlib.error as error:
        raise ValueError(f"an OpenEXR file with a broken block ({error})") from error
    steps = np.frombuffer(plain, np.uint8).copy()
    steps[1:] -= 128
    halves = np.cumsum(steps, dtype=np.uint8)
    ordered = np.empty(len(plain), np.uint8)
    middle = (len(plain) + 1) // 2
    ordered[0::2], ordered[1::2] = halves[:middle], halves[middle:]
    return ordered.tobytes()


def is_whole(path: Path) -> bool:
    """Whether a file that ``read`` reads has its last block."""
    with path.open("rb") as file:
        try:
            return ends(file, parse(file.read(HEADER_LIMIT)))
        except ValueError:
            return False


def ends(file: BinaryIO, layout: Layout) -> bool:
    """Whether an open file has its last block."""
    try:
        file.seek(layout.position + 8 * (layout.blocks - 1))
        (last,) = struct.unpack("<Q", file.read(8))
        file.seek(last + 4)
        (stored,) = struct.unpack("<I", file.read(4))
        return last > 0 and file.seek(0, os.SEEK_END) >= last + 8 + stored
    except (struct.error, OSError, OverflowError):
        return False


def parse(data: bytes) -> Layout:
    """The layout of a file from its first bytes. Raises ValueError unless it is one of these."""
    if data[:4] != MAGIC:
        raise ValueError("not an OpenEXR file")
    try:
        if struct.unpack_from("<I", data, 4)[0] & ~0x400 != 2:  # long names are fine
            raise ValueError("an OpenEXR file with tiles, depth or several parts")
        attributes, position = _header(data)
        names, types = _channels(attributes["channels"])
        left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
        compression, order = attributes["compression"][0], attributes["lineOrder"][0]
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise ValueError("an OpenEXR file with a broken header") from error
    if compression not in ROWS or order != 0:
        raise ValueError("an OpenEXR file with another compression than ZIP")
    if len(types) != 1 or not types <= set(TYPES):
        raise ValueError("an OpenEXR file that is not half or 32-bit float throughout")
    width, height = right - left + 1, bottom - top + 1
    if not (0 < width <= LARGEST and 0 < height <= LARGEST):
        raise ValueError(f"an OpenEXR file of {width}x{height} pixels")
    primaries = attributes.get("chromaticities", b"")
    chromaticities = struct.unpack("<8f", primaries) if len(primaries) == 32 else None
    dtype = TYPES[types.pop()]
    return Layout(names, dtype, width, height, ROWS[compression], position, chromaticities)


def _header(data: bytes) -> tuple[dict[str, bytes], int]:
    """Attributes by name, and where the header ends."""
    attributes, position = {}, 8
    while data[position] != 0:
        name, position = _text(data, position)
        _, position = _text(data, position)
        (size,) = struct.unpack_from("<I", data, position)
        attributes[name] = data[position + 4 : position + 4 + size]
        position += 4 + size
    return attributes, position + 1


def _channels(data: bytes) -> tuple[list[str], set[int]]:
    names, types, position = [], set(), 0
    while data[position] != 0:
        name, position = _text(data, position)
        kind, _, across, down = struct.unpack_from("<4i", data, position)
        if (across, down) != (1, 1):
            raise ValueError("an OpenEXR file with channels of different sizes")
        names.append(name)
        types.add(kind)
        position += 16
    return names, types


def _text(data: bytes, position: int) -> tuple[str, int]:
    end = data.find(b"\0", position)
    if end < 0:
        raise IndexError(position)
    return data[position:end].decode("utf-8"), end + 1


def write(path: Path, channels: dict[str, np.ndarray]) -> None:
    """As ``encode``, into a file. Raises OSError."""
    path.write_bytes(encode(channels))


def encode(channels: dict[str, np.ndarray]) -> bytes:
    """A file of channels (H, W), rounded to half float. What half cannot hold becomes infinite."""
    names = sorted(channels)  # as the format has it
    height, width = channels[names[0]].shape
    planes = [np.asarray(channels[name]).astype("<f2") for name in names]
    rows = np.stack(planes, 1).reshape(height, -1)
    packed = [_packed(rows[first : first + 16]) for first in range(0, height, 16)]
    head = MAGIC + struct.pack("<I", 2) + b"".join(_attributes(names, width, height)) + b"\0"
    blocks = [
        struct.pack("<iI", 16 * number, len(block)) + block for number, block in enumerate(packed)
    ]
    starts = np.cumsum([len(head) + 8 * len(blocks), *map(len, blocks[:-1])], dtype="<u8")
    return b"".join([head, starts.tobytes(), *blocks])


def _packed(rows: np.ndarray) -> bytes:
    plain = rows.tobytes()
    values = np.frombuffer(plain, np.uint8)
    halves = np.concatenate([values[0::2], values[1::2]])
    steps = halves.copy()
    steps[1:] -= halves[:-1]
    steps[1:] += 128
    packed = zlib.compress(steps.tobytes(), ZIP_LEVEL)
    return packed if len(packed) < len(plain) else plain


def _attributes(names: list[str], width: int, height: int) -> Iterable[bytes]:
    half = struct.pack("<4i", 1, 0, 1, 1)
    channels = b"".join(name.encode() + b"\0" + half for name in names) + b"\0"
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    for name, kind, value in (
        ("channels", "chlist", channels),
        ("chromaticities", "chromaticities", struct.pack("<8f", *REC709)),
        ("compression", "compression", b"\3"),
        ("dataWindow", "box2i", window),
        ("displayWindow", "box2i", window),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1)),
        ("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
    ):
        yield f"{name}\0{kind}\0".encode() + struct.pack("<I", len(value)) + value
