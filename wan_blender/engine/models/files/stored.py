# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights that stay in memory as they are stored, fp8 or GGUF, and are unpacked for each product.

Packed bytes are held as int8: the model code of diffusers and transformers asks for a weight's
type in places and knows to leave int8 alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import gguf
import torch
from diffusers.quantizers.gguf.utils import dequantize_functions
from torch import nn
from torch.nn.functional import linear

# Numbers unpacked at a time: the steps between take 12 bytes for each, a GGUF matrix of a 14B model
# at once 800 MB.
SLICE = 1 << 22
_FP8_MAX = torch.finfo(torch.float8_e4m3fn).max


@dataclass(frozen=True)
class Fp8:
    """One float8 number a weight, times a scale for the tensor () or for each row (out, 1)."""

    dtype: torch.dtype

    def width(self, size: int) -> int:
        return size

    def unpack(
        self, packed: torch.Tensor, scale: torch.Tensor | None, dtype: torch.dtype
    ) -> torch.Tensor:
        weight = packed.view(self.dtype).to(dtype)
        return weight if scale is None else weight * scale.to(dtype)


@dataclass(frozen=True)
class Gguf:
    """Blocks of 32 or 256 weights along each row, with scales of their own inside."""

    quant: gguf.GGMLQuantizationType

    def width(self, size: int) -> int:
        """Weights in a row of ``size`` bytes."""
        block, each = gguf.GGML_QUANT_SIZES[self.quant]
        return size // each * block

    def unpack(self, packed: torch.Tensor, scale: None, dtype: torch.dtype) -> torch.Tensor:
        block, size = gguf.GGML_QUANT_SIZES[self.quant]
        rows = packed.view(torch.uint8).reshape(-1, size)
        weight = dequantize_functions[self.quant](rows, block, size, dtype=torch.float32)
        return weight.to(dtype).reshape(*packed.shape[:-1], -1)


def unpack(
    packed: torch.Tensor, form: Fp8 | Gguf, scale: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """A matrix (out, bytes of a row) int8 as (out, in), some rows after the other: beside the
    result lies what SLICE numbers take. Tensors of other dimensions are small, and done at once."""
    if packed.ndim != 2:
        return form.unpack(packed, scale, dtype)
    rows, width = packed.shape[0], form.width(packed.shape[1])
    step = max(1, SLICE // max(1, width))
    out = torch.empty(rows, width, dtype=dtype, device=packed.device)
    for start in range(0, rows, step):
        some = slice(start, start + step)
        own = scale if scale is None or scale.ndim == 0 else scale[some]
        out[some] = form.unpack(packed[some], own, dtype)
    return out


@dataclass(frozen=True)
class Stored:
    """A matrix as its file holds it: (out, bytes of a row) int8, and how to unpack it."""

    packed: torch.Tensor
    form: Fp8 | Gguf
    scale: torch.Tensor | None = None

    def unpack(self, dtype: torch.dtype) -> torch.Tensor:
        return unpack(self.packed, self.form, self.scale, dtype)


class StoredLinear(nn.Linear):
    """A linear layer that unpacks its weight to the input's type each time it is called."""

    def __init__(self, like: nn.Linear, stored: Stored, device: torch.device) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = like.in_features, like.out_features
        self.weight = nn.Parameter(stored.packed.to(device), requires_grad=False)
        scale = None if stored.scale is None else stored.scale.to(device)
        self.register_buffer("scale", scale)
        self.form = stored.form
        self.bias = like.bias
        self.multiplies_packed = False  # fp8 by fp8, where the device can

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        bias = None if self.bias is None else self.bias.to(inputs.dtype)
        if self.multiplies_packed:
            made = multiply_fp8(inputs, self.weight.view(self.form.dtype), self.scale)
            return made if bias is None else made + bias
        return linear(inputs, unpack(self.weight, self.form, self.scale, inputs.dtype), bias)


def multiply_fp8(
    inputs: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor | None
) -> torch.Tensor:
    """``inputs`` (..., in) by ``weight`` (out, in) in float8, both multiples of 16, with ``scale``
    () or (out, 1). Each row of the inputs is scaled to the range of float8 by its largest value."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    size = rows.abs().amax(1, keepdim=True).float().clamp_min(1e-12) / _FP8_MAX
    one = torch.ones((), device=inputs.device)
    made = torch._scaled_mm(
        (rows.float() / size).to(weight.dtype), weight.T, scale_a=one, scale_b=one,
        out_dtype=torch.bfloat16,
    ).float() * size  # fmt: skip
    if scale is not None:
        made = made * scale.float().reshape(1, -1)
    return made.to(inputs.dtype).reshape(*inputs.shape[:-1], -1)


def pack(weight: torch.Tensor) -> Stored:
    """A matrix (out, in) as fp8 with a scale for each row, on its device."""
    scale = weight.abs().amax(1, keepdim=True).float().clamp_min(1e-12) / _FP8_MAX
    packed = (weight.float() / scale).to(torch.float8_e4m3fn).view(torch.int8)
    return Stored(packed, Fp8(torch.float8_e4m3fn), scale)


def can_stay_packed(quant: gguf.GGMLQuantizationType) -> bool:
    """Whether torch can unpack this type; the others are unpacked once, by numpy, while loading."""
    return quant in dequantize_functions
