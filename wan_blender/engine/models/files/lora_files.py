# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRA files in every dialect, checked against the model they are for.

Dialects: diffusers and PEFT (``transformer.blocks.0.attn1.to_q.lora_A.weight``), ComfyUI
(``diffusion_model.blocks.0.self_attn.q.lora_down.weight``, ``.alpha``, ``.diff``, ``.diff_b``;
lightx2v with ``blocks.0.diff_m`` for ``blocks.0.modulation.diff``), kohya
(``lora_unet_blocks_0_self_attn_q.lora_down.weight``, VideoX-Fun with ``lora_unet__``), LyCORIS
(``lycoris_blocks_0_...``), DiffSynth (``lora_A.default``).
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from ....core.errors import WeightsMissing, WrongModel
from ....core.schema import show
from ..layout import read_json
from .dialects import transformer_name
from .lora import TABLE, Delta, Lora
from .tensor_files import TensorInfo, read_header

_PREFIXES = (
    "base_model.model.", "transformer_2.", "transformer.", "model.diffusion_model.",
    "diffusion_model.", "pipe.dit.", "dit.", "unet.", "lora_unet__", "lora_unet_transformer_",
    "lora_unet_", "lora_transformer_", "lycoris_",
)  # fmt: skip
_ENDINGS = {
    "lora_A": "down", "lora_down": "down", "lora.down": "down",
    "lora_B": "up", "lora_up": "up", "lora.up": "up",
    "diff_b": "bias", "diff_m": "full", "diff": "full", "alpha": "alpha",
}  # fmt: skip
_KEY = re.compile(
    r"(.+?)\.(lora_[AB]|lora_(?:up|down)|lora\.(?:up|down)|diff_[bm]|diff|alpha)"
    r"(?:\.default)?(?:\.(weight|bias))?$"
)
_FOREIGN = {
    r"hada_w": "LoHa", r"lokr_w": "LoKr", r"oft_|\.boft": "OFT",
    r"dora_scale|lora_magnitude_vector": "DoRA", r"lora_mid": "Tucker",
}  # fmt: skip
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
    _refuse_foreign(path, infos)
    targets = _targets(model)
    known = _aliases(targets)
    deltas: dict[str, Delta] = {}
    skipped: set[str] = set()
    try:
        with safe_open(path, framework="pt") as file:
            alpha = _alpha_of_file(path, file.metadata() or {})
            for name, info in infos.items():
                match = _KEY.match(name)
                place = match and known.get(_short(match))
                if not place:
                    skipped.add(match[1] if match else name)
                    continue
                delta = deltas.setdefault(place, Delta(alpha=alpha))
                kind = _ENDINGS[match[2]]
                if kind == "alpha":
                    delta.alpha = _alpha(path, name, file.get_tensor(name))
                    continue
                tensor = torch.empty(info.shape, device="meta")
                if not header_only:
                    tensor = file.get_tensor(name)
                setattr(delta, "bias" if match[3] == "bias" else kind, tensor)
    except (OSError, SafetensorError) as error:
        raise WeightsMissing(f"{path} cannot be read: {error}.", "Download it again.") from error
    for place in [p for p, d in deltas.items() if not _fits(path, p, d, targets[p])]:
        skipped.add(place)
        del deltas[place]
    if not deltas:
        raise WrongModel(
            f"{path} changes no layer of this model; it is for another one, or not a LoRA.",
            f"Its first tensor is {next(iter(infos), 'missing')!r}.",
        )
    return Lora(path, deltas, tuple(sorted(skipped)))


def _refuse_foreign(path: Path, infos: dict[str, TensorInfo]) -> None:
    for pattern, kind in _FOREIGN.items():
        if found := next((name for name in infos if re.search(pattern, name)), None):
            raise WrongModel(
                f"{path} is a {kind} file (it holds {found}); only plain LoRA is supported.",
                "Use a LoRA version of it.",
            )
    for name, info in infos.items():
        if _KEY.match(name) and not name.endswith("alpha") and info.dtype not in _FLOATS:
            raise WrongModel(
                f"{path} holds {name} as {info.dtype}: a quantisation this version does not read.",
                "Use an fp16 or bf16 version of it.",
            )


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


def _short(match: re.Match) -> str:
    """The name of the layer without prefixes."""
    name = match[1] + (".modulation" if match[2] == "diff_m" else "")
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _aliases(layers: Iterable[str]) -> dict[str, str]:
    """Every name a layer goes by -> its name in the model."""
    layers = set(layers)
    found = {layer: layer for layer in layers}
    blocks = {m[0] for layer in layers if (m := re.match(r"(vace_)?blocks\.\d+", layer))}
    for official in [f"{block}.{rest}" for block in blocks for rest in _BLOCK] + list(_TOP):
        dot = "" if official.endswith("modulation") else "."  # a tensor itself, no layer
        place = transformer_name(official + dot).rstrip(".")
        if place in layers:
            found[official] = place
    return found | {alias.replace(".", "_"): place for alias, place in found.items()}


def _fits(path: Path, place: str, delta: Delta, target: nn.Module | nn.Parameter) -> bool:
    """False for a delta that this layer cannot take. Raises WrongModel when the LoRA is for a
    model of another width, WeightsMissing when its tensors do not fit each other."""
    expected = _shape(target)
    made = []  # shapes of what it adds to the weight
    if (delta.down is None) != (delta.up is None):
        raise _damaged(path, f"it holds one of the two matrices of {place}")
    if delta.down is not None:
        up, down = tuple(delta.up.shape), tuple(delta.down.shape)
        if not len(up) == len(down) > 1 or up[1] != down[0] or 0 in up + down:
            raise _damaged(path, f"its matrices of {place} are {up} and {down}")
        made.append((up[0], *down[1:]))
    if delta.full is not None:
        made.append(tuple(delta.full.shape))
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


def _damaged(path: Path, why: str) -> WeightsMissing:
    return WeightsMissing(f"{path} is not a usable LoRA: {why}.", "Download the file again.")


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


def _alpha(path: Path, name: str, value: Any) -> float:
    """Raises WeightsMissing unless ``value`` is one finite number."""
    if isinstance(value, torch.Tensor):
        value = value.item() if value.numel() == 1 else value.tolist()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _damaged(path, f"{name} is {show(value)}, expected one finite number")
    return float(value)


def _alpha_of_file(path: Path, metadata: dict[str, str]) -> float | None:
    """One alpha for all layers, as PEFT writes it into the file or beside it; else None. Raises
    WeightsMissing for one that cannot be read."""
    told = []
    if text := metadata.get("lora_adapter_metadata"):
        try:
            told.append(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise _damaged(path, f"its lora_adapter_metadata is no JSON: {error}") from error
        if not isinstance(told[0], dict):
            raise _damaged(path, f"its lora_adapter_metadata is {show(told[0])}, no object")
    if path.stem == "adapter_model":
        told.append(read_json(path.parent / "adapter_config.json", optional=True))
    for data in told:
        for key, value in data.items():
            if key.rpartition(".")[2] == "lora_alpha":
                return _alpha(path, key, value)
    return None
