# SPDX-License-Identifier: GPL-3.0-or-later
"""GGUF files: names, types and logical shapes from the header, bytes through a memory map.

The header is a list of named fields and a list of tensors, each with its type and where it lies.
A text encoder's holds its vocabulary, a quarter million strings: fields are passed over by their
lengths, and read when they are asked for. (The gguf package's own reader makes several arrays for
each string, which takes 16 seconds and a gigabyte.) No torch.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import gguf
import numpy as np

from ....core.errors import WeightsMissing
from ....core.files import open_file
from .sentence_pieces import write_unigram
from .tensor_files import ABSENT, NAME_LIMIT, TensorInfo, read_header, without_empty

# Written by converters for tensors of more dimensions than ggml has; holds the true shape.
_TRUE_SHAPE = "comfy.gguf.orig_shape."
_HEADER_LIMIT = 1 << 24  # bytes; a header with the vocabulary of UMT5 has 7 million
_DIMENSIONS_LIMIT = 8  # ggml itself has 4
_PATCH = (1, 2, 2)  # frames, rows and columns that a patch embedding takes together
_STRING, _ARRAY = gguf.GGUFValueType.STRING, gguf.GGUFValueType.ARRAY
_NUMBERS = {kind: np.dtype(word) for kind, word in gguf.GGUFReader.gguf_scalar_to_np.items()}
# As ComfyUI's text encoders in safetensors call the tokenizer they carry.
PIECES = "spiece_model"


@dataclass(frozen=True)
class _Field:
    kind: int  # a GGUFValueType; of an array that of its elements
    count: int
    at: int  # where its first element begins in the file


@dataclass(frozen=True)
class GgufTensor:
    """``data`` is (rows, bytes of a row) of a read-only map of the file, uint8."""

    quant: gguf.GGMLQuantizationType
    data: np.ndarray


@dataclass
class GgufFile:
    """``infos`` has one entry besides those of ``tensors`` where the file carries the tokenizer:
    PIECES, which ``pieces`` makes."""

    infos: dict[str, TensorInfo] = field(default_factory=dict)
    tensors: dict[str, GgufTensor] = field(default_factory=dict)
    fields: dict[str, _Field] = field(default_factory=dict)
    _map: mmap.mmap | None = None

    def pieces(self) -> bytes:
        """The tokenizer as a SentencePiece model. Raises ValueError or KeyError where a field is
        missing or of another length."""
        name = "tokenizer.ggml."
        spaces = {
            rule: bool(self.numbers(name + rule)[0]) if name + rule in self.fields else True
            for rule in ("add_space_prefix", "remove_extra_whitespaces")
        }
        charsmap = name + "precompiled_charsmap"
        return write_unigram(
            list(self.strings(name + "tokens")),
            self.numbers(name + "scores").tolist(),
            self.numbers(name + "token_type").tolist(),
            # of int8, uint8 or wider: bytes, whatever they are written as
            self.numbers(charsmap).astype(np.uint8).tobytes() if charsmap in self.fields else b"",
            **spaces,
        )

    def strings(self, name: str) -> Iterator[bytes]:
        found = self.fields[name]
        if found.kind != _STRING:
            raise ValueError(f"{name} holds no text")
        reader = _Reader(self._map, found.at)
        return (reader.string() for _ in range(found.count))

    def numbers(self, name: str) -> np.ndarray:
        found = self.fields[name]
        if found.kind not in _NUMBERS:
            raise ValueError(f"{name} holds no numbers")
        return np.frombuffer(self._map, _NUMBERS[found.kind], found.count, found.at)


class _Reader:
    """Takes one thing after the other from ``data``. Every length is held against what is left
    before it is believed: a header may claim 2**40 elements. Raises ValueError."""

    def __init__(self, data: mmap.mmap, at: int = 0) -> None:
        self.data, self.at, self._end = data, at, min(len(data), _HEADER_LIMIT)

    def number(self, form: str) -> int:
        """``form`` is struct's: "I" or "Q"."""
        at = self.skip(struct.calcsize("<" + form))
        return struct.unpack_from("<" + form, self.data, at)[0]

    def string(self) -> bytes:
        count = self.number("Q")
        at = self.skip(count)
        return self.data[at : at + count]

    def skip(self, count: int, width: int = 1) -> int:
        """Where it stood."""
        at, left = self.at, self._end - self.at
        if count * width > left:
            raise ValueError(f"its header claims {count * width} bytes where {left} are left")
        self.at += count * width
        return at


def read_infos(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a safetensors or GGUF file that hold something, from its header. Raises what
    ``read_header`` and ``read_gguf`` raise."""
    is_gguf = path.suffix.lower() == ".gguf"
    return read_gguf(path).infos if is_gguf else without_empty(read_header(path))


def read_gguf(path: Path) -> GgufFile:
    """What the file holds. Raises WeightsMissing when it is absent, cut short or damaged."""
    try:
        with os.fdopen(open_file(path, os.O_RDONLY, links=True), "rb") as file:
            return _read(path, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError as error:
        raise WeightsMissing(f"{path} does not exist.", ABSENT) from error
    except (OSError, ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise WeightsMissing(
            f"{path} is not a usable GGUF file, or cut short: {error}.", "Download the file again."
        ) from error


def _read(path: Path, data: mmap.mmap) -> GgufFile:
    reader = _Reader(data)
    if (magic := data[:4]) != b"GGUF":
        raise ValueError(f"it begins with {magic!r}")
    reader.skip(4)
    if (version := reader.number("I")) not in (2, 3):
        raise ValueError(f"it is of version {version}; versions 2 and 3 are known")
    tensors, fields = reader.number("Q"), reader.number("Q")
    made = GgufFile(_map=data)
    for _ in range(fields):
        name = reader.string().decode()
        made.fields[name] = _read_field(reader)
    entries = [_read_tensor(reader) for _ in range(tensors)]
    start = _data_start(made, reader.at)
    everything = np.frombuffer(data, np.uint8)
    for name, shape, quant, offset in entries:
        if name in made.tensors:
            raise ValueError(f"it has {name} twice")
        row, rows = _row_bytes(name, shape, quant), math.prod(shape[:-1])
        if offset % 8 or start + offset + rows * row > len(everything):
            raise ValueError(f"{name} does not lie within its {len(everything)} bytes")
        stored = everything[start + offset : start + offset + rows * row].reshape(rows, row)
        made.tensors[name] = GgufTensor(quant, stored)
        if stored.size:
            made.infos[name] = TensorInfo(quant.name, _true_shape(made, name, shape), path)
    _unfold_patches(made.infos)
    if _carries_tokenizer(made):
        made.infos[PIECES] = TensorInfo("U8", (0,), path)  # no tensor of the file, and no weight
    return made


def _read_field(reader: _Reader) -> _Field:
    kind, count = reader.number("I"), 1
    if kind == _ARRAY:
        kind, count = reader.number("I"), reader.number("Q")
    if kind in _NUMBERS:
        return _Field(kind, count, reader.skip(count, _NUMBERS[kind].itemsize))
    if kind != _STRING:
        raise ValueError(f"it has a field of type {kind}")
    found = _Field(kind, count, reader.at)
    for _ in range(count):
        reader.skip(reader.number("Q"))
    return found


def _read_tensor(
    reader: _Reader,
) -> tuple[str, tuple[int, ...], gguf.GGMLQuantizationType, int]:
    """Name, shape as torch orders it, type, and where it begins behind the header."""
    name = reader.string().decode()
    if len(name) > NAME_LIMIT:
        raise ValueError(f"a tensor's name has {len(name)} characters")
    if (dimensions := reader.number("I")) > _DIMENSIONS_LIMIT:
        raise ValueError(f"a tensor has {dimensions} dimensions")
    shape = [reader.number("Q") for _ in range(dimensions)]
    quant = gguf.GGMLQuantizationType(reader.number("I"))
    return name, tuple(reversed(shape)) or (1,), quant, reader.number("Q")


def _data_start(made: GgufFile, header: int) -> int:
    alignment = gguf.GGUF_DEFAULT_ALIGNMENT
    if gguf.Keys.General.ALIGNMENT in made.fields:
        alignment = int(made.numbers(gguf.Keys.General.ALIGNMENT)[0])
    if alignment <= 0 or alignment % 8:
        raise ValueError(f"its alignment is {alignment}")
    return -(-header // alignment) * alignment


def _row_bytes(name: str, shape: tuple[int, ...], quant: gguf.GGMLQuantizationType) -> int:
    block, size = gguf.GGML_QUANT_SIZES[quant]
    if shape[-1] % block:
        raise ValueError(f"{name} has rows of {shape[-1]}, {quant.name} has blocks of {block}")
    return shape[-1] // block * size


def _true_shape(made: GgufFile, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if _TRUE_SHAPE + name not in made.fields:
        return shape
    true = tuple(int(n) for n in made.numbers(_TRUE_SHAPE + name))
    if min(true, default=0) < 0 or math.prod(true) != math.prod(shape):
        raise ValueError(f"{name} has {math.prod(shape)} numbers, not those of {true}")
    return true


def _unfold_patches(infos: dict[str, TensorInfo]) -> None:
    """Give patch embeddings their five dimensions back, (out, in, 1, 2, 2): ggml has four, and some
    converters put two together without noting which. The bias has one number for each of ``out``.
    """
    for name, info in infos.items():
        bias = infos.get(f"{name.removesuffix('.weight')}.bias")
        if not name.endswith("patch_embedding.weight") or len(info.shape) == 5 or bias is None:
            continue
        cells, left = math.prod(_PATCH), math.prod(info.shape)
        per_channel = math.prod(bias.shape) * cells
        if tuple(info.shape[-2:]) == _PATCH[-2:] and per_channel and left % per_channel == 0:
            shape = (math.prod(bias.shape), left // per_channel, *_PATCH)
            infos[name] = replace(info, shape=shape)


def _carries_tokenizer(made: GgufFile) -> bool:
    """Whether it has a vocabulary of T5's kind (others are of language models)."""
    model = made.fields.get("tokenizer.ggml.model")
    named = model is not None and model.kind == _STRING
    return named and next(made.strings("tokenizer.ggml.model"), b"") == b"t5"
