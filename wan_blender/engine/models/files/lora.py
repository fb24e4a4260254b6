# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRAs on a model, several at once, with weights that may change between stages.

A LoRA adds ``weight * scale * up @ down`` to a layer's matrix (arXiv 2106.09685); LoHa and LoKr
add other products of small matrices. It is added to the layer's output and never into its weights:
packed weights stay packed, nothing has to be undone, and taking a LoRA off leaves the model bit
for bit as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import conv3d, layer_norm, linear, rms_norm

from .lora_products import Product

TABLE = "scale_shift_table"  # what diffusers calls a block's or the head's modulation


@dataclass
class Delta:
    """What a LoRA adds to one layer: ``scale * up @ down``, other products, a whole matrix, a
    bias, or several of these."""

    down: torch.Tensor | None = None  # (rank, in)
    up: torch.Tensor | None = None  # (out, rank)
    scale: float = 1.0
    products: tuple[Product, ...] = ()
    full: torch.Tensor | None = None  # the shape of the layer's weight, or of a modulation
    bias: torch.Tensor | None = None  # (out,)


@dataclass(frozen=True)
class Lora:
    """``skipped`` are layers that the file changes and the model does not have."""

    path: Path
    deltas: dict[str, Delta]
    skipped: tuple[str, ...]


def set_loras(model: nn.Module, loras: Sequence[tuple[Lora, float]]) -> None:
    """Make ``loras`` with these weights the only ones on ``model``; none takes all off."""
    for handle in getattr(model, "_lora_handles", ()):
        handle.remove()
    model._lora_handles = []
    parameter = next(p for p in model.parameters() if p.is_floating_point())
    dtype = getattr(model, "dtype", parameter.dtype)
    by_place: dict[str, list[tuple[Delta, float]]] = {}
    for lora, weight in loras:
        for place, delta in lora.deltas.items():
            by_place.setdefault(place, []).append((delta, weight))
    for place, deltas in by_place.items():
        owner, _, name = place.rpartition(".")
        if name == TABLE:
            merged = _merge(deltas, parameter.device, torch.float32)
            model._lora_handles.append(_Shadow(model.get_submodule(owner), merged.full))
            continue
        layer = model.get_submodule(place)
        # norms compute in float32 between layers of half precision
        norm = isinstance(layer, nn.RMSNorm | nn.LayerNorm)
        merged = _merge(deltas, parameter.device, torch.float32 if norm else dtype)
        handle = layer.register_forward_hook(
            lambda module, args, out, merged=merged: out + _effect(module, args[0], merged)
        )
        model._lora_handles.append(handle)


class _Shadow:
    """A block's modulation with ``change`` (1, n, channels) added, seen instead of the parameter,
    which stays as it is: it may be one that offloading moves between devices."""

    def __init__(self, owner: nn.Module, change: torch.Tensor) -> None:
        self._owner = owner
        table = owner.get_parameter(TABLE)
        vars(owner)[TABLE] = (table.to(change.device, change.dtype) + change).to(table.dtype)

    def remove(self) -> None:
        vars(self._owner).pop(TABLE, None)


def _merge(deltas: list[tuple[Delta, float]], device: torch.device, dtype: torch.dtype) -> Delta:
    """One delta that does what all of them do with their weights: ranks add up."""

    def total(name: str) -> torch.Tensor | None:
        found = [(getattr(d, name), w) for d, w in deltas if getattr(d, name) is not None]
        return sum(t.to(device, dtype) * w for t, w in found) if found else None

    pairs = [(d, w) for d, w in deltas if d.down is not None and d.up is not None]
    down = up = None
    if pairs:
        down = torch.cat([d.down.to(device, dtype) for d, _ in pairs])
        up = torch.cat([d.up.float().to(device) * (d.scale * w) for d, w in pairs], 1).to(dtype)
    products = tuple(p.on(device, dtype, w) for d, w in deltas for p in d.products)
    return Delta(down, up, 1.0, products, total("full"), total("bias"))


def _effect(layer: nn.Module, x: torch.Tensor, delta: Delta) -> torch.Tensor:
    """What is added to the layer's output for input ``x``."""
    if isinstance(layer, nn.RMSNorm):
        return rms_norm(x, layer.normalized_shape, delta.full.to(x.dtype), layer.eps)
    if isinstance(layer, nn.LayerNorm):
        full = torch.zeros_like(delta.bias) if delta.full is None else delta.full
        bias = None if delta.bias is None else delta.bias.to(x.dtype)
        return layer_norm(x, layer.normalized_shape, full.to(x.dtype), bias, layer.eps)
    total: Any = 0
    if delta.down is not None:
        total = _product(layer, _product(layer, x.to(delta.down.dtype), delta.down), delta.up)
    for product in delta.products:
        matrix = product.matrix().reshape(_shape(layer))
        total = total + _product(layer, x.to(matrix.dtype), matrix)
    if delta.full is not None:
        total = total + _product(layer, x.to(delta.full.dtype), delta.full)
    if delta.bias is not None:
        total = total + (delta.bias[:, None, None, None] if x.ndim == 5 else delta.bias)
    return total


def _shape(layer: nn.Module) -> tuple[int, ...]:
    """Of its weight, which may be packed."""
    if isinstance(layer, nn.Conv3d):
        return tuple(layer.weight.shape)
    return layer.out_features, layer.in_features


def _product(layer: nn.Module, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    if not isinstance(layer, nn.Conv3d):
        return linear(x, weight)
    patches = tuple(weight.shape[2:]) == tuple(layer.kernel_size)
    return conv3d(x, weight, stride=layer.stride if patches else 1)
