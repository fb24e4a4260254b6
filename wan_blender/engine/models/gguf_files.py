# SPDX-License-Identifier: GPL-3.0-or-later
"""GGUF files: names, types and logical shapes, through the memory map of the gguf package."""

from __future__ import annotations

from pathlib import Path

import gguf

from ...errors import WeightsMissing
from .tensor_files import TensorInfo

# Written by converters for tensors of more dimensions than ggml has; holds the true shape.
_TRUE_SHAPE = "comfy.gguf.orig_shape."


def read_gguf(path: Path) -> tuple[dict[str, TensorInfo], dict[str, gguf.ReaderTensor]]:
    """What the file holds, and its tensors by name. Raises WeightsMissing when it is absent, cut
    short or damaged."""
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
        if magic != b"GGUF":
            raise ValueError(f"it begins with {magic!r}")
        reader = gguf.GGUFReader(path)
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        infos = {name: _info(path, reader, tensor) for name, tensor in tensors.items()}
    except FileNotFoundError as error:
        raise WeightsMissing(f"{path} does not exist.") from error
    except (OSError, ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise WeightsMissing(
            f"{path} is not a usable GGUF file, or cut short: {error}.", "Download the file again."
        ) from error
    return infos, tensors


def _info(path: Path, reader: gguf.GGUFReader, tensor: gguf.ReaderTensor) -> TensorInfo:
    shape = tuple(int(n) for n in reversed(tensor.shape))
    field = reader.get_field(_TRUE_SHAPE + tensor.name)
    if field is not None:
        shape = tuple(int(field.parts[index][0]) for index in field.data)
    return TensorInfo(tensor.tensor_type.name, shape, path)
