# SPDX-License-Identifier: GPL-3.0-or-later
"""GGUF files: names, types and logical shapes, through the memory map of the gguf package."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO

import gguf

from ...errors import WeightsMissing
from .tensor_files import ABSENT, NAME_LIMIT, TensorInfo, read_header

# Written by converters for tensors of more dimensions than ggml has; holds the true shape.
_TRUE_SHAPE = "comfy.gguf.orig_shape."
_HEADER_LIMIT = 1 << 24  # bytes; a header with the vocabulary of UMT5 has 7 million
_DIMENSIONS_LIMIT = 8  # ggml itself has 4
_STRING, _ARRAY = gguf.GGUFValueType.STRING, gguf.GGUFValueType.ARRAY
_BYTES = {kind: word(0).nbytes for kind, word in gguf.GGUFReader.gguf_scalar_to_np.items()}


def read_infos(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a safetensors or GGUF file, from its header. Raises what ``read_header`` and
    ``read_gguf`` raise."""
    return read_gguf(path)[0] if path.suffix.lower() == ".gguf" else read_header(path)


def read_gguf(path: Path) -> tuple[dict[str, TensorInfo], dict[str, gguf.ReaderTensor]]:
    """What the file holds, and its tensors by name. Raises WeightsMissing when it is absent, cut
    short or damaged."""
    try:
        with open(path, "rb") as file:
            _check_header(file, min(path.stat().st_size, _HEADER_LIMIT))
        reader = gguf.GGUFReader(path)
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        infos = {name: _info(path, reader, tensor) for name, tensor in tensors.items()}
    except FileNotFoundError as error:
        raise WeightsMissing(f"{path} does not exist.", ABSENT) from error
    except (OSError, ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise WeightsMissing(
            f"{path} is not a usable GGUF file, or cut short: {error}.", "Download the file again."
        ) from error
    return infos, tensors


def _check_header(file: BinaryIO, size: int) -> None:
    """Raise ValueError unless every length in the header lies within ``size`` bytes: the gguf
    package believes them, and would go through 2**40 elements one by one."""

    def take(form: str) -> int:
        data = file.read(struct.calcsize("<" + form))
        if len(data) < struct.calcsize("<" + form):
            raise ValueError("its header is cut short")
        return struct.unpack("<" + form, data)[0]

    def skip(count: int, width: int = 1) -> None:
        left = size - file.tell()
        if count * width > left:
            raise ValueError(f"its header claims {count * width} bytes where {left} are left")
        file.seek(count * width, 1)

    if (magic := file.read(4)) != b"GGUF":
        raise ValueError(f"it begins with {magic!r}")
    if (version := take("I")) not in (2, 3):
        raise ValueError(f"it is of version {version}; versions 2 and 3 are known")
    tensors, fields = take("Q"), take("Q")
    for _ in range(fields):
        skip(take("Q"))
        kind, count = take("I"), 1
        if kind == _ARRAY:
            kind, count = take("I"), take("Q")
        if kind == _STRING:
            for _ in range(count):
                skip(take("Q"))
        elif kind in _BYTES:
            skip(count, _BYTES[kind])
        else:
            raise ValueError(f"it has a field of type {kind}")
    for _ in range(tensors):
        skip(take("Q"))
        if (dimensions := take("I")) > _DIMENSIONS_LIMIT:
            raise ValueError(f"a tensor has {dimensions} dimensions")
        skip(dimensions * 8 + 4 + 8)


def _info(path: Path, reader: gguf.GGUFReader, tensor: gguf.ReaderTensor) -> TensorInfo:
    if len(tensor.name) > NAME_LIMIT:
        raise ValueError(f"a tensor's name has {len(tensor.name)} characters")
    shape = tuple(int(n) for n in reversed(tensor.shape))
    field = reader.get_field(_TRUE_SHAPE + tensor.name)
    if field is not None:
        shape = tuple(int(field.parts[index][0]) for index in field.data)
        if min(shape, default=0) < 0 or math.prod(shape) != tensor.n_elements:
            raise ValueError(f"{tensor.name} has {tensor.n_elements} numbers, not those of {shape}")
    return TensorInfo(tensor.tensor_type.name, shape, path)
