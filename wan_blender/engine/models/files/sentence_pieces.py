# SPDX-License-Identifier: GPL-3.0-or-later
"""A SentencePiece model written from its vocabulary. stdlib only.

The file is a protocol buffer (sentencepiece_model.proto): each field is a number that says its
tag and its form, and the value. What is written here is what decides how text is split.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_UNKNOWN, _BYTE = 2, 6  # types of pieces, the same numbers in GGUF
_UNIGRAM = 1  # the model's type: T5's


def write_unigram(
    pieces: Sequence[bytes],
    scores: Sequence[float],
    types: Sequence[int],
    charsmap: bytes,
    add_space_prefix: bool,
    remove_extra_whitespaces: bool,
) -> bytes:
    """``charsmap`` is how characters are normalised, compiled; b"" is not at all. Raises ValueError
    when the lists are of different lengths, or no piece stands for what is unknown."""
    if not len(pieces) == len(scores) == len(types):
        raise ValueError(
            f"its vocabulary has {len(pieces)} pieces, {len(scores)} scores and {len(types)} types"
        )
    if _UNKNOWN not in types:
        raise ValueError("its vocabulary has no piece for what is unknown")
    model = bytearray()
    pack, kinds = struct.Struct("<f").pack, {kind: _number(3, kind) for kind in {*types}}
    for piece, score, kind in zip(pieces, scores, types, strict=True):
        # piece, score, type
        model += _bytes(1, _bytes(1, piece) + b"\x15" + pack(score) + kinds[kind])
    # model_type, vocab_size, byte_fallback
    model += _bytes(2, _number(3, _UNIGRAM) + _number(4, len(pieces)) + _number(35, _BYTE in types))
    spaces = _number(3, add_space_prefix) + _number(4, remove_extra_whitespaces)
    model += _bytes(3, _bytes(2, charsmap) + spaces)
    return bytes(model)


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3) + _varint(value)


def _bytes(tag: int, value: bytes) -> bytes:
    return _varint(tag << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Seven bits a byte, lowest first; the eighth says that more follow."""
    if value < 128:  # as nearly all are
        return bytes((value,))
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
