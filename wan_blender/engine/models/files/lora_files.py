# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRA files, checked against the model they are for; lora_dialects.py knows their names."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from ....core.errors import WeightsMissing, WrongModel
from .dialects import transformer_name
from .lora import TABLE, Delta, Lora
from .lora_dialects import REFUSED, Key, read_key, underscored
from .lora_products import Hadamard, Kronecker, Product
from .peft_config import PeftConfig, damaged, finite, read_peft_config
from .tensor_files import TensorInfo, read_header

_BLOCK = ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "cross_attn.q",
          "cross_attn.k", "cross_attn.v", "cross_attn.o", "cross_attn.k_img", "cross_attn.v_img",
          "ffn.0", "ffn.2", "norm3", "self_attn.norm_q", "self_attn.norm_k",
          "cross_attn.norm_q", "cross_attn.norm_k", "cross_attn.norm_k_img", "before_proj",
          "after_proj", "modulation")  # fmt: skip
_TOP = ("time_embedding.0", "time_embedding.2", "time_projection.1", "text_embedding.0",
        "text_embedding.2", "img_emb.proj.0", "img_emb.proj.1", "img_emb.proj.3", "img_emb.proj.4",
        "head.head", "head.modulation")  # fmt: skip
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


def lora_file(name: str) -> Path:
    """The file that a job's setting names, its header read. Raises WeightsMissing or
    UnsafeWeights."""
    path = Path(os.path.expanduser(name))
    read_header(path)
    return path


def check_lora(path: Path, model: nn.Module) -> None:
    """Raise what ``read_lora`` would raise, from the file's header; ``model`` may be without
    memory."""
    _read(path, model, header_only=True)


def read_lora(path: str | Path, model: nn.Module) -> Lora:
    """Read the LoRA for ``model``. Raises WeightsMissing when it is damaged, UnsafeWeights, or
    WrongModel when it is for another model or not a LoRA."""
    return _read(Path(path), model, header_only=False)


def _read(path: Path, model: nn.Module, header_only: bool) -> Lora:
    """With ``header_only`` the tensors are on the meta device."""
    infos = read_header(path)
    keys = {name: key for name in infos if (key := read_key(name))}
    _refuse_foreign(path, infos, keys)
    targets = _targets(model)
    known = _aliases(targets)
    changes: dict[str, _Change] = {}
    skipped = {name for name in infos if name not in keys}
    try:
        with safe_open(path, framework="pt") as file:
            config = read_peft_config(path, file.metadata() or {})
            for name, key in keys.items():
                place = known.get(underscored(key.layer))
                if not place:
                    skipped.add(key.raw)
                    continue
                change = changes.setdefault(place, _Change(path, place))
                whole = not header_only or key.part == "alpha"
                tensor = file.get_tensor(name) if whole else _empty(infos[name])
                if not header_only and key.part != "alpha":
                    _require_numbers(path, name, tensor)
                change.take(name, key, tensor)
    except (OSError, SafetensorError) as error:
        raise WeightsMissing(f"{path} cannot be read: {error}.", "Download it again.") from error
    deltas = {}
    for place, change in changes.items():
        delta = change.delta(config)
        if _fits(path, place, delta, targets[place]):
            deltas[place] = delta
        else:
            skipped.add(place)
    if not deltas:
        raise WrongModel(
            f"{path} changes no layer of this model; it is for another one, or not a LoRA.",
            f"Its first tensor is {next(iter(infos), 'missing')!r}.",
        )
    if all(map(_is_nothing, deltas.values())):
        raise WrongModel(
            f"{path} changes nothing: the alpha of all of its {len(deltas)} layers is 0.",
            "Download or convert it again; alpha is most often as large as the rank.",
        )
    return Lora(path, deltas, tuple(sorted(skipped)))


def _is_nothing(delta: Delta) -> bool:
    return delta.scale == 0 and not delta.products and delta.full is None and delta.bias is None


def _require_numbers(path: Path, name: str, tensor: torch.Tensor) -> None:
    """Attention can swallow NaN, and the result would silently be another one."""
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
        raise WeightsMissing(f"{path} holds NaN or infinity in {name}.", "Download the file again.")


def _empty(info: TensorInfo) -> torch.Tensor:
    return torch.empty(info.shape, device="meta")


def _refuse_foreign(path: Path, infos: dict[str, TensorInfo], keys: dict[str, Key]) -> None:
    for pattern, kind in REFUSED.items():
        if found := next((name for name in infos if re.search(pattern, name)), None):
            raise WrongModel(
                f"{path} is a {kind} file (it holds {found}), which this version does not read.",
                "Use a LoRA, LoHa or LoKr version of it.",
            )
    for name, key in keys.items():
        if key.part != "alpha" and infos[name].dtype not in _FLOATS:
            raise WrongModel(
                f"{path} holds {name} as {infos[name].dtype}: a quantisation this version does "
                "not read.",
                "Use an fp16 or bf16 version of it.",
            )


class _Change:
    """The tensors of a file that change one layer, as they come."""

    def __init__(self, path: Path, place: str) -> None:
        self._path, self._place = path, place
        self._parts: dict[str, torch.Tensor] = {}
        self._names: tuple[str, ...] = (place,)  # of the layer, for PEFT's patterns

    def take(self, name: str, key: Key, tensor: torch.Tensor) -> None:
        if key.part in self._parts:
            raise WrongModel(
                f"{self._path} changes {self._place} twice: {name} is the second {key.part}.",
                "It holds several LoRAs: split it into a file for each.",
            )
        self._parts[key.part] = tensor
        self._names = (key.layer, key.raw, self._place)

    def delta(self, config: PeftConfig | None) -> Delta:
        """Raises WeightsMissing when the tensors do not belong together."""
        parts = self._parts
        if ("down" in parts) != ("up" in parts):
            raise damaged(self._path, f"it holds one of the two matrices of {self._place}")
        delta = Delta(parts.get("down"), parts.get("up"), full=parts.get("full"))
        delta.bias = parts.get("bias")
        if delta.down is not None:
            up, down = tuple(delta.up.shape), tuple(delta.down.shape)
            if not len(up) == len(down) > 1 or up[1] != down[0] or 0 in up + down:
                raise damaged(self._path, f"its matrices of {self._place} are {up} and {down}")
            delta.scale = self._scale(config, down[0])
            if "up_bias" in parts:
                delta.bias = parts["up_bias"] * delta.scale
        try:
            delta.products = tuple(self._products(config))
        except (KeyError, ValueError) as error:
            raise damaged(
                self._path, f"its factors of {self._place} do not belong together: {error}"
            ) from error
        return delta

    def _products(self, config: PeftConfig | None) -> Iterable[Product]:
        """LoHa and LoKr. Raises KeyError for a factor that is not there, ValueError for factors
        that do not fit each other."""
        named = [part for part in self._parts if part.startswith(("hada_", "lokr_"))]
        if any(part.startswith("hada_") for part in named):
            first, second = (
                (self._parts[f"hada_{w}_a"], self._parts[f"hada_{w}_b"]) for w in ("w1", "w2")
            )
            made: Product = Hadamard(first, second, self._scale(config, first[1].shape[0]))
            made.shape  # noqa: B018  raises
            yield made
        if any(part.startswith("lokr_") for part in named):
            w1, w2 = self._factor("lokr_w1"), self._factor("lokr_w2")
            rank = next((factor[1].shape[0] for factor in (w1, w2) if len(factor) == 2), None)
            made = Kronecker(w1, w2, self._scale(config, rank))
            made.shape  # noqa: B018  raises
            yield made

    def _factor(self, name: str) -> tuple[torch.Tensor, ...]:
        if name in self._parts:
            return (self._parts[name],)
        return self._parts[f"{name}_a"], self._parts[f"{name}_b"]

    def _scale(self, config: PeftConfig | None, rank: float | None) -> float:
        """alpha / rank; 1 where the file says no alpha, or has no rank as two whole factors of
        LoKr have none, and PEFT says nothing."""
        told = self._parts.get("alpha")
        if rank is None and config:
            rank = config.rank_of(self._names)
        if rank is None or (told is None and config is None):
            return 1.0
        if told is None:
            alpha = config.alpha_of(self._names)
        else:
            number = told.item() if told.numel() == 1 else told.tolist()
            alpha = finite(self._path, f"{self._place}.alpha", number)
        return (config or PeftConfig(alpha)).scale(alpha, rank)


def _targets(model: nn.Module) -> dict[str, nn.Module | nn.Parameter]:
    """What a LoRA can change: layers, and the modulation of the blocks and the head."""
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv3d)
        or (isinstance(layer, nn.RMSNorm | nn.LayerNorm) and layer.weight is not None)
    }
    tables = {n: p for n, p in model.named_parameters() if n.rpartition(".")[2] == TABLE}
    return layers | tables


def _aliases(layers: Iterable[str]) -> dict[str, str]:
    """Every name a layer goes by, with underscores for dots -> its name in the model."""
    layers = set(layers)
    found = {layer: layer for layer in layers}
    blocks = {m[0] for layer in layers if (m := re.match(r"(vace_)?blocks\.\d+", layer))}
    for official in [f"{block}.{rest}" for block in blocks for rest in _BLOCK] + list(_TOP):
        dot = "" if official.endswith("modulation") else "."  # a tensor itself, no layer
        place = transformer_name(official + dot).rstrip(".")
        if place in layers:
            found[official] = place
    for layer in layers:
        if layer.endswith(".to_out.0"):
            found[layer.removesuffix(".0")] = layer
    return {underscored(alias): place for alias, place in found.items()}


def _fits(path: Path, place: str, delta: Delta, target: nn.Module | nn.Parameter) -> bool:
    """False for a delta that this layer cannot take. Raises WrongModel when the LoRA is for a
    model of another width."""
    expected = _shape(target)
    made = []  # shapes of what it adds to the weight
    if delta.down is not None:
        made.append((delta.up.shape[0], *delta.down.shape[1:]))
    if delta.full is not None:
        made.append(tuple(delta.full.shape))
    for product in delta.products:
        shape = product.shape
        same = shape[0] == expected[0] and math.prod(shape) == math.prod(expected)
        made.append(expected if same else shape)
    for shape in made:
        if shape == expected:
            continue
        if isinstance(target, nn.Conv3d):
            return False  # T2V and I2V differ in their input channels only
        raise _other_width(path, place, shape, expected)
    if delta.bias is not None:
        if isinstance(target, nn.RMSNorm | nn.Parameter):
            return False  # these have none
        if tuple(delta.bias.shape) != expected[:1]:
            raise _other_width(path, f"the bias of {place}", tuple(delta.bias.shape), expected[:1])
    return bool(made) or delta.bias is not None


def _other_width(
    path: Path, place: str, shape: tuple[int, ...], expected: tuple[int, ...]
) -> WrongModel:
    return WrongModel(
        f"{path} is for another model: it changes {place} of shape {shape}, this model has "
        f"{expected}.",
        "Use the LoRA made for this size of Wan.",
    )


def _shape(target: nn.Module | nn.Parameter) -> tuple[int, ...]:
    if isinstance(target, nn.Linear):
        return target.out_features, target.in_features
    return tuple(target.shape if isinstance(target, nn.Parameter) else target.weight.shape)
