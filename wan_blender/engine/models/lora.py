# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRAs in every dialect, several at once, with weights that may change between stages.

A LoRA adds ``weight * alpha / rank * up @ down`` to a layer's matrix (arXiv 2106.09685). It is
added to the layer's output and never into its weights: packed weights stay packed, nothing has
to be undone, and taking a LoRA off leaves the model bit for bit as it was.

Dialects: diffusers and PEFT (``transformer.blocks.0.attn1.to_q.lora_A.weight``), ComfyUI
(``diffusion_model.blocks.0.self_attn.q.lora_down.weight``, ``.alpha``, ``.diff``, ``.diff_b``),
kohya (``lora_unet_blocks_0_self_attn_q.lora_down.weight``, VideoX-Fun with ``lora_unet__``),
DiffSynth (``lora_A.default``).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from torch.nn.functional import conv3d, layer_norm, linear, rms_norm

from ...errors import WrongModel
from .dialects import transformer_name
from .tensor_files import read_header

_PREFIXES = (
    "base_model.model.", "transformer_2.", "transformer.", "model.diffusion_model.",
    "diffusion_model.", "pipe.dit.", "dit.", "lora_unet__", "lora_unet_", "lora_transformer_",
)  # fmt: skip
_ENDINGS = {
    "lora_A": "down", "lora_down": "down", "lora.down": "down",
    "lora_B": "up", "lora_up": "up", "lora.up": "up",
    "diff_b": "bias", "diff": "full", "alpha": "alpha",
}  # fmt: skip
_KEY = re.compile(
    r"(.+?)\.(lora_[AB]|lora_(?:up|down)|lora\.(?:up|down)|diff_b|diff|alpha)"
    r"(?:\.default)?(?:\.(weight|bias))?$"
)
_FOREIGN = {
    r"hada_w": "LoHa", r"lokr_w": "LoKr", r"oft_|\.boft": "OFT",
    r"dora_scale|lora_magnitude_vector": "DoRA", r"lora_mid": "Tucker",
}  # fmt: skip
_BLOCK = ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "cross_attn.q",
          "cross_attn.k", "cross_attn.v", "cross_attn.o", "cross_attn.k_img", "cross_attn.v_img",
          "ffn.0", "ffn.2", "norm3", "self_attn.norm_q", "self_attn.norm_k",
          "cross_attn.norm_q", "cross_attn.norm_k", "before_proj", "after_proj")  # fmt: skip
_TOP = ("time_embedding.0", "time_embedding.2", "time_projection.1", "text_embedding.0",
        "text_embedding.2", "img_emb.proj.1", "img_emb.proj.3", "head.head")  # fmt: skip


@dataclass
class Delta:
    """What a LoRA adds to one layer: ``scale * up @ down``, a whole matrix, a bias, or several."""

    down: torch.Tensor | None = None  # (rank, in)
    up: torch.Tensor | None = None  # (out, rank)
    full: torch.Tensor | None = None  # the shape of the layer's weight
    bias: torch.Tensor | None = None  # (out,)
    alpha: float | None = None

    @property
    def scale(self) -> float:
        return 1.0 if self.alpha is None else self.alpha / self.down.shape[0]


@dataclass(frozen=True)
class Lora:
    """``skipped`` are layers that the file changes and the model does not have."""

    path: Path
    deltas: dict[str, Delta]
    skipped: tuple[str, ...]


def lora_file(name: str) -> Path:
    """The file that a job's setting names, its header read. Raises WeightsMissing or
    UnsafeWeights."""
    path = Path(os.path.expanduser(name))
    read_header(path)
    return path


def read_lora(path: str | Path, model: nn.Module) -> Lora:
    """Read the LoRA for ``model``. Raises WeightsMissing, UnsafeWeights, or WrongModel when it is
    for another model or not a LoRA."""
    path = Path(path)
    names = read_header(path)
    for pattern, kind in _FOREIGN.items():
        if found := next((name for name in names if re.search(pattern, name)), None):
            raise WrongModel(
                f"{path} is a {kind} file (it holds {found}); only plain LoRA is supported.",
                "Use a LoRA version of it.",
            )
    layers = {name: layer for name, layer in model.named_modules() if _adaptable(layer)}
    known = _aliases(layers)
    deltas: dict[str, Delta] = {}
    skipped: set[str] = set()
    with safe_open(path, framework="pt") as file:
        alpha = _alpha_of_file(path, file.metadata() or {})
        for name in names:
            match = _KEY.match(name)
            place = match and known.get(_short(match[1]))
            if not place:
                skipped.add(match[1] if match else name)
                continue
            delta = deltas.setdefault(place, Delta(alpha=alpha))
            _put(delta, match, file.get_tensor(name))
    for place in [p for p, d in deltas.items() if not _fits(p, d, layers[p], path)]:
        skipped.add(place)
        del deltas[place]
    if not deltas:
        raise WrongModel(
            f"{path} changes no layer of this model; it is for another one, or not a LoRA.",
            f"Its first tensor is {next(iter(names), 'missing')!r}.",
        )
    return Lora(path, deltas, tuple(sorted(skipped)))


def set_loras(model: nn.Module, loras: Sequence[tuple[Lora, float]]) -> None:
    """Make ``loras`` with these weights the only ones on ``model``; none takes all off."""
    for handle in getattr(model, "_lora_handles", ()):
        handle.remove()
    model._lora_handles = []
    parameter = next(p for p in model.parameters() if p.is_floating_point())
    dtype = getattr(model, "dtype", parameter.dtype)
    by_layer: dict[str, list[tuple[Delta, float]]] = {}
    for lora, weight in loras:
        for place, delta in lora.deltas.items():
            by_layer.setdefault(place, []).append((delta, weight))
    for place, deltas in by_layer.items():
        layer = model.get_submodule(place)
        merged = _merge(deltas, parameter.device, dtype)
        handle = layer.register_forward_hook(
            lambda module, args, out, merged=merged: out + _effect(module, args[0], merged)
        )
        model._lora_handles.append(handle)


def _adaptable(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.Conv3d | nn.RMSNorm | nn.LayerNorm)


def _short(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _aliases(layers: Iterable[str]) -> dict[str, str]:
    """Every name a layer goes by -> its name in the model."""
    layers = set(layers)
    found = {layer: layer for layer in layers}
    blocks = {m[0] for layer in layers if (m := re.match(r"(vace_)?blocks\.\d+", layer))}
    for official in [f"{block}.{rest}" for block in blocks for rest in _BLOCK] + list(_TOP):
        place = transformer_name(official + ".").rstrip(".")
        if place in layers:
            found[official] = place
    return found | {alias.replace(".", "_"): place for alias, place in found.items()}


def _put(delta: Delta, match: re.Match, tensor: torch.Tensor) -> None:
    kind = _ENDINGS[match[2]]
    if kind == "alpha":
        delta.alpha = float(tensor)
    elif match[3] == "bias":
        delta.bias = tensor
    else:
        setattr(delta, kind, tensor)


def _fits(place: str, delta: Delta, layer: nn.Module, path: Path) -> bool:
    """False for a delta that this layer cannot take. Raises WrongModel when the LoRA is for a
    model of another width."""
    if delta.down is not None and delta.up is not None:
        made = (delta.up.shape[0], *delta.down.shape[1:])
        expected = _shape(layer)
        if made == expected:
            return True
        if isinstance(layer, nn.Conv3d):
            return False  # T2V and I2V differ in their input channels only
        raise WrongModel(
            f"{path} is for another model: it changes {place} of shape {made}, this model has "
            f"{expected}.",
            "Use the LoRA made for this size of Wan.",
        )
    return delta.bias is not None or (
        delta.full is not None and tuple(delta.full.shape) == _shape(layer)
    )


def _shape(layer: nn.Module) -> tuple[int, ...]:
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    return tuple(layer.weight.shape)


def _alpha_of_file(path: Path, metadata: dict[str, str]) -> float | None:
    """One alpha for all layers, as PEFT writes it into the file or beside it; else None."""
    texts = [metadata.get("lora_adapter_metadata", "{}")]
    beside = path.parent / "adapter_config.json"
    if path.stem == "adapter_model" and beside.is_file():
        texts.append(beside.read_text(encoding="utf-8"))
    for text in texts:
        try:
            data: dict[str, Any] = json.loads(text)
        except ValueError:
            continue
        for key, value in data.items():
            if key.rpartition(".")[2] == "lora_alpha" and isinstance(value, int | float):
                return float(value)
    return None


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
    return Delta(down, up, total("full"), total("bias"))


def _effect(layer: nn.Module, x: torch.Tensor, delta: Delta) -> torch.Tensor:
    """What is added to the layer's output for input ``x``."""
    if isinstance(layer, nn.RMSNorm):
        return rms_norm(x, layer.normalized_shape, delta.full, layer.eps)
    if isinstance(layer, nn.LayerNorm):
        full = torch.zeros_like(delta.bias) if delta.full is None else delta.full
        return layer_norm(x, layer.normalized_shape, full, delta.bias, layer.eps)
    total: Any = 0
    if delta.down is not None:
        total = _product(layer, _product(layer, x.to(delta.down.dtype), delta.down), delta.up)
    if delta.full is not None:
        total = total + _product(layer, x.to(delta.full.dtype), delta.full)
    if delta.bias is not None:
        total = total + (delta.bias[:, None, None, None] if x.ndim == 5 else delta.bias)
    return total


def _product(layer: nn.Module, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    if not isinstance(layer, nn.Conv3d):
        return linear(x, weight)
    patches = tuple(weight.shape[2:]) == tuple(layer.kernel_size)
    return conv3d(x, weight, stride=layer.stride if patches else 1)
