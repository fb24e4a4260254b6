# SPDX-License-Identifier: GPL-3.0-or-later
"""How the tensors of a LoRA are called, in every dialect: one entry each.

A name is what stands before the layer, the layer, which part of the change the tensor is, and what
stands behind that. Some write dots as underscores, in all of a name or in half of it; so layers
are compared with underscores for dots. No torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class Dialect:
    """``example`` is one of its names, of attn1.to_q in block 0. ``prefixes`` may stand before a
    layer, several of them and repeatedly. ``endings`` name parts of a change, see Key.part;
    ``rewrites`` (pattern, replacement) make plain names of what is put together otherwise."""

    example: str
    prefixes: tuple[str, ...] = ()
    endings: Mapping[str, str] = field(default_factory=dict)
    rewrites: tuple[tuple[str, str], ...] = ()


DIALECTS = {
    "diffusers": Dialect(
        "transformer.blocks.0.attn1.to_q.lora_A.weight",
        ("transformer", "transformer_2", "unet"),
        {"lora_A": "down", "lora_B": "up"},
    ),
    "diffusers before PEFT": Dialect(
        "unet.blocks.0.attn1.processor.to_q_lora.down.weight",
        rewrites=(
            (r"\.processor\.(\w+?)_lora\.(down|up)\b", r".\1.lora_\2"),
            (r"\.lora(?:_linear_layer)?\.(down|up)\b", r".lora_\1"),
        ),
    ),
    "PEFT": Dialect(
        "base_model.model.blocks.0.attn1.to_q.lora_A.default.weight", ("base_model.model",)
    ),
    "ComfyUI": Dialect(
        "diffusion_model.blocks.0.self_attn.q.lora_down.weight",
        ("diffusion_model",),
        {"lora_down": "down", "lora_up": "up", "diff": "full", "diff_b": "bias", "alpha": "alpha"},
    ),
    "lightx2v": Dialect("blocks.0.self_attn.q.diff", endings={"diff_m": "modulation"}),
    "kohya": Dialect(
        "lora_unet_blocks_0_self_attn_q.lora_down.weight", ("lora_unet", "lora_transformer")
    ),
    "kohya, half with dots": Dialect("lora_unet_blocks_0.self_attn.q.lora_down.weight"),
    "LyCORIS": Dialect(
        "lycoris_blocks_0_self_attn_q.lokr_w1",
        ("lycoris",),
        {"w_norm": "full", "b_norm": "bias"}
        | {name: name for name in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")}
        | {name: name for name in ("lokr_w1", "lokr_w1_a", "lokr_w1_b")}
        | {name: name for name in ("lokr_w2", "lokr_w2_a", "lokr_w2_b")},
    ),
    "DiffSynth": Dialect("pipe.dit.blocks.0.self_attn.q.lora_A.default.weight", ("pipe", "dit")),
    "distilled": Dialect(
        "generator.model.blocks.0.self_attn.q.lora_A.weight",
        ("generator_ema", "generator", "model"),
    ),
    "in a wrapper of torch": Dialect(
        "blocks.0._fsdp_wrapped_module.self_attn._orig_mod.q.lora_A.weight",
        ("module",),
        rewrites=(
            (r"(^|[._])_(?:orig_mod|(?:fsdp|checkpoint)_wrapped_module)[._]", r"\1"),
        ),
    ),
}  # fmt: skip

# What else a tensor may say of a layer, and what its file then is.
REFUSED = {
    r"hada_t\d|lokr_t\d|lora_mid": "Tucker",
    r"oft_|\.boft": "OFT",
    r"dora_scale|lora_magnitude_vector": "DoRA",
}

_ENDINGS = {ending: part for d in DIALECTS.values() for ending, part in d.endings.items()}
_REWRITES = [(re.compile(old), new) for d in DIALECTS.values() for old, new in d.rewrites]
_WORDS = sorted(
    {prefix for d in DIALECTS.values() for prefix in d.prefixes}, key=len, reverse=True
)  # fmt: skip
_PREFIX = re.compile(
    "[._]*(?:" + "|".join(word.replace(".", "[._]") for word in _WORDS) + r")[._]+|[._]+"
)
_KEY = re.compile(
    r"(?P<layer>.+?)\.(?P<ending>" + "|".join(sorted(_ENDINGS, key=len, reverse=True)) + ")"
    r"(?:\.(?!(?:weight|bias)$)[^.]+)?"  # the name of an adapter
    r"(?:\.(?P<leaf>weight|bias))?"
)


class Key(NamedTuple):
    """``layer`` without what stands before it; ``raw`` as the file has it, up to the part. ``part``
    is down, up, full, bias, up_bias (of the up matrix), alpha, or one of LyCORIS' factors."""

    layer: str
    part: str
    raw: str


def read_key(name: str) -> Key | None:
    """What the tensor ``name`` is; None where it is not part of a LoRA."""
    plain = name
    for pattern, new in _REWRITES:
        plain = pattern.sub(new, plain)
    match = _KEY.fullmatch(plain)
    if not match:
        return None
    layer, part = match["layer"], _ENDINGS[match["ending"]]
    if part == "modulation":
        layer, part = f"{layer}.modulation", "full"
    if match["leaf"] == "bias":
        part = "up_bias" if part == "up" else "bias"
    while front := _PREFIX.match(layer):
        layer = layer[front.end() :]
    return Key(layer, part, match["layer"])


def underscored(layer: str) -> str:
    """``layer`` as it is compared."""
    return layer.replace(".", "_")


def is_lora(name: str) -> bool:
    """Whether only a LoRA has a tensor of this name."""
    key = read_key(name)
    return bool(key and key.part != "alpha") or any(re.search(p, name) for p in REFUSED)
