# SPDX-License-Identifier: GPL-3.0-or-later
"""What a weight file is, from its tensors: header only, no torch, milliseconds a file."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ....core.errors import WeightsMissing, WrongModel
from ....model_info.listing import Identity
from ....model_info.names import expert_of
from ....model_info.traits import model_kind
from ..files.configs import infer_config
from ..files.dialects import foreign, piece, roles, translate
from ..files.gguf_files import read_infos
from ..files.lora_dialects import read_key
from ..files.tensor_files import SCALES, TensorInfo, component_files, refuse_packed, whole

# Of LoHa and LoKr, whose columns make up those of the layer.
_WIDE_PARTS = ("hada_w1_b", "lokr_w1", "lokr_w1_b", "lokr_w2", "lokr_w2_b")
_PRECISIONS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}


def identify(path: Path) -> list[Identity]:
    """What ``path`` holds: a file, or a folder with a model's shards, which one of them stands for.
    Raises WeightsMissing for damaged files, UnsafeWeights for pickles, WrongModel for a
    quantisation that is not read."""
    path = whole(path)
    infos: dict[str, TensorInfo] = {}
    for file in component_files(path) if path.is_dir() else [path]:
        infos |= read_infos(file)
    found = roles(infos)
    if not found:
        return [Identity(path, "", precision=precision(infos))]
    if "lora" not in found:
        refuse_packed(infos)
    try:
        return [_identity(path, role, prefix, infos) for role, prefix in found.items()]
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise WeightsMissing(
            f"{path} has tensors of shapes that no {' or '.join(found)} has: {error}.",
            "Download the file again.",
        ) from error


def _identity(path: Path, role: str, prefix: str, infos: Mapping[str, TensorInfo]) -> Identity:
    inside = {n: i for n, i in infos.items() if n.startswith(prefix)}
    common = {
        "path": path,
        "role": role,
        "precision": precision(inside),
        "parameters_b": round(sum(math.prod(i.shape) for i in inside.values()) / 1e9, 3),
    }
    if role == "lora":
        return Identity(**common, width=_lora_width(inside), expert=expert_of(path))
    names = translate(role, infos, prefix)
    renamed = {name: piece(name, raw, infos[raw]) for name, raw in names.items()}
    try:
        if role == "transformer":
            config = infer_config(role, renamed)
            width = config["num_attention_heads"] * config["attention_head_dim"]
            return Identity(
                **common, kind=model_kind(config), width=width, expert=expert_of(path),
                latent_channels=config["out_channels"], text_dim=config["text_dim"],
                image_dim=config["image_dim"] or 0, foreign=tuple(foreign(renamed)),
            )  # fmt: skip
        if role == "vace":
            width = renamed["vace_blocks.0.attn1.to_q.weight"].shape[0]
            return Identity(**common, kind="vace", width=width, expert=expert_of(path))
        if role == "vae":
            channels = infer_config(role, renamed)["z_dim"]
            version = "wan 2.2" if channels == 48 else "wan 2.1"
            return Identity(**common, kind=version, latent_channels=channels)
        if role == "text_encoder":
            config = infer_config(role, renamed)
            tokenizer = any(n.endswith("spiece_model") for n in infos)
            return Identity(
                **common, kind=_text_kind(renamed, config["num_layers"]), width=config["d_model"],
                has_tokenizer=tokenizer,
            )  # fmt: skip
        if role == "image_encoder":
            return Identity(**common, width=infer_config(role, renamed)["hidden_size"])
    except (WrongModel, KeyError):
        return Identity(path, "", precision=common["precision"])
    return Identity(**common)


def precision(infos: Mapping[str, TensorInfo]) -> str:
    """The type that most weights have."""
    weight = Counter()
    for info in infos.values():
        weight[info.dtype] += math.prod(info.shape)
    if not weight:
        return ""
    word = weight.most_common(1)[0][0]
    scaled = any(name.endswith(SCALES) for name in infos)
    return _PRECISIONS.get(word, word) + (" scaled" if scaled and word.startswith("F8") else "")


def _text_kind(infos: Mapping[str, TensorInfo], layers: int) -> str:
    """UMT5 has a relative attention bias in every block, T5 in the first one only."""
    biases = sum(name.endswith("relative_attention_bias.weight") for name in infos)
    return "umt5" if biases >= layers else "t5"


def _lora_width(infos: Mapping[str, TensorInfo]) -> int:
    """Channels of the transformer a LoRA is for, from what it holds of a self-attention layer."""
    found: dict[str, dict[str, int]] = {}
    for name, info in infos.items():
        key = read_key(name)
        if not key or not re.search(r"(^|[._])(attn1|self_attn)[._]", key.layer):
            continue
        if key.part == "down" or (key.part == "full" and len(info.shape) == 2):
            return info.shape[-1]
        if key.part in _WIDE_PARTS and len(info.shape) == 2:
            found.setdefault(key.layer, {})[key.part] = info.shape[1]
    for parts in found.values():
        if "hada_w1_b" in parts:
            return parts["hada_w1_b"]
        one, two = (parts.get(f"lokr_{w}", parts.get(f"lokr_{w}_b", 0)) for w in ("w1", "w2"))
        if one * two:
            return one * two
    return 0
