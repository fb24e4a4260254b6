# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a movie file is as long as it says: Matroska and WebM, MP4 and MOV, AVI.

Blender believes the number of frames that a file states, and of a file that was cut, by a copy or
a download that broke off, it repeats the last frame that is there.
"""

from __future__ import annotations

import os
from typing import IO

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def stated_size(path: str) -> int:
    """The bytes that the file should have at least; 0 where it does not say."""
    with open(path, "rb") as file:
        start = file.read(12)
        file.seek(0)
        if start[:4] == EBML:
            return _matroska(file)
        if start[:4] == b"RIFF" and start[8:] == b"AVI ":
            return 8 + int.from_bytes(start[4:8], "little")
        if start[4:8] == b"ftyp":
            return _boxes(file, os.path.getsize(path))
    return 0


def _matroska(file: IO[bytes]) -> int:
    """Two elements follow each other: the header and the segment, which is all the rest."""
    file.seek(4)
    header = _variable_length(file)
    file.seek(header or 0, os.SEEK_CUR)
    if header is None or file.read(4) != SEGMENT:
        return 0
    size = _variable_length(file)
    return 0 if size is None else file.tell() + size


def _variable_length(file: IO[bytes]) -> int | None:
    """The leading zeros of the first byte say how many follow; None for "unknown", all ones."""
    first = file.read(1) or b"\0"
    extra = 8 - first[0].bit_length()
    if extra > 7:
        return None
    bits = 7 * (extra + 1)
    value = int.from_bytes(first + file.read(extra), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value


def _boxes(file: IO[bytes], size: int) -> int:
    """Boxes fill the file, each with its size in front; 1 says that 64 bits follow the name, 0 that
    it is the last one and ends with the file."""
    end = 0
    while end < size:
        file.seek(end)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        if length < 8:
            return 0
        end += length
    return end
