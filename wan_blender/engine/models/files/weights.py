# SPDX-License-Identifier: GPL-3.0-or-later
"""One component's tensors under diffusers names, whatever files and dialect they come from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from ....core.errors import WeightsMissing
from ..layout import tensor_names
from .dialects import piece
from .gguf_files import PIECES, GgufFile, GgufTensor, read_gguf
from .stored import Fp8, Gguf, Stored, can_stay_packed
from .tensor_files import SCALES, TensorInfo, read_header, refuse_packed, without_empty

_FP8 = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}  # of GGUF
# Bookkeeping of fp8 files that is not a tensor of the model.
_BESIDE = (
    *SCALES, ".scale_input", ".input_scale", ".comfy_quant", ".weight_scale_2", "scaled_fp8",
    PIECES, "position_ids",
)  # fmt: skip


class Weights:
    """Tensors of ``role`` in ``files``: one file, shards of one, or a T2V file and VACE's own.
    Raises WeightsMissing, or WrongModel when they hold something else."""

    def __init__(self, files: Sequence[Path], role: str) -> None:
        self.infos: dict[str, TensorInfo] = {}
        self._raw: dict[str, TensorInfo] = {}
        self._names: dict[str, str] = {}
        self._safe: dict[Path, Any] = {}
        self._gguf: dict[Path, GgufFile] = {}
        headers = {path: self._header(path) for path in files}
        for infos in headers.values():
            self._raw |= infos
        refuse_packed(self._raw)
        for name, raw in tensor_names(role.removesuffix("_2"), headers).items():
            if not name.endswith(_BESIDE):
                self.infos[name] = piece(name, raw, self._raw[raw])
                self._names[name] = raw

    def _header(self, path: Path) -> Mapping[str, TensorInfo]:
        if path.suffix.lower() != ".gguf":
            return without_empty(read_header(path))
        self._gguf[path] = read_gguf(path)
        return self._gguf[path].infos

    def read(self, name: str) -> torch.Tensor | Stored:
        """The tensor ``name``; matrices in fp8 or GGUF types come packed."""
        raw = self._names[name]
        whole, wanted = self._read_whole(raw), self.infos[name]
        if wanted.shape == self._raw[raw].shape:
            return whole
        if isinstance(whole, Stored):
            whole = whole.unpack(torch.float32)
        return whole.reshape(-1, *wanted.shape)[wanted.piece]

    def _read_whole(self, raw: str) -> torch.Tensor | Stored:
        info = self._raw[raw]
        if info.file in self._gguf:
            return self._from_gguf(info, self._gguf[info.file].tensors[raw])
        tensor = self._from_safetensors(raw, info)
        if info.dtype not in _FP8:
            return tensor
        scale = self._scale(raw)
        stored = Stored(tensor.view(torch.int8), Fp8(tensor.dtype), scale)
        return stored if tensor.ndim == 2 else stored.unpack(torch.float32)

    def tokenizer(self) -> bytes:
        """The SentencePiece model that is in the file beside the encoder, or b"". Raises ValueError
        or KeyError when it cannot be made of what is there."""
        for raw, info in self._raw.items():
            if raw.endswith(PIECES):
                if info.file in self._gguf:
                    return self._gguf[info.file].pieces()
                return self._from_safetensors(raw, info).numpy().tobytes()
        return b""

    def _scale(self, raw: str) -> torch.Tensor | None:
        layer = raw.removesuffix(".weight")
        for ending in SCALES:
            if layer + ending in self._raw:
                name = layer + ending
                scale = self._from_safetensors(name, self._raw[name]).float()
                return scale.reshape(()) if scale.numel() == 1 else scale.reshape(-1, 1)
        return None

    def _from_safetensors(self, raw: str, info: TensorInfo) -> torch.Tensor:
        try:
            if info.file not in self._safe:
                self._safe[info.file] = safe_open(info.file, framework="pt")
            return self._safe[info.file].get_tensor(raw)
        except (OSError, SafetensorError) as error:
            raise WeightsMissing(
                f"{info.file} cannot be read at {raw}: {error}.", "Download the file again."
            ) from error

    def _from_gguf(self, info: TensorInfo, tensor: GgufTensor) -> torch.Tensor | Stored:
        quant, packed = tensor.quant, _mapped(tensor.data)
        if info.dtype in _PLAIN:
            return packed.clone().view(_PLAIN[info.dtype]).reshape(info.shape)
        if len(info.shape) == 2 and can_stay_packed(quant):
            return Stored(packed.reshape(info.shape[0], -1), Gguf(quant))
        return torch.from_numpy(gguf.dequantize(tensor.data, quant)).reshape(info.shape)


def _mapped(data: np.ndarray) -> torch.Tensor:
    """Bytes of a file as int8, in its read-only map still: not to be written to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is not writable
        return torch.from_numpy(data.view(np.int8))
