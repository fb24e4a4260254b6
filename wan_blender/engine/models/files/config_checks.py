# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a configuration of diffusers or transformers is one that a model can be made of.

Their classes take it as it is: a wrong type ends in an error of torch's, and a number too large
fills the memory before any tensor is read. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ....core.errors import WrongModel
from ....core.schema import show

LAYERS_LIMIT = 512  # of any part; the largest has 40
_CHANNELS_LIMIT, _LIST_LIMIT = 1 << 20, 512
# The largest that each may be. Those of NULLABLE may be null, and so may all that a class has a
# default for: what is absent is not checked.
_INTEGERS = {
    "num_layers": LAYERS_LIMIT, "num_hidden_layers": LAYERS_LIMIT, "num_res_blocks": 64,
    "num_heads": 4096, "num_attention_heads": 4096, "attention_head_dim": 4096, "d_kv": 4096,
    "rope_max_seq_len": 1 << 16, "vocab_size": 1 << 22, "image_size": 4096, "z_dim": 4096,
    "scale_factor_spatial": 64, "scale_factor_temporal": 64,
    "relative_attention_num_buckets": 4096, "relative_attention_max_distance": 1 << 16,
} | dict.fromkeys(
    ("in_channels", "out_channels", "text_dim", "freq_dim", "ffn_dim", "image_dim",
     "added_kv_proj_dim", "pos_embed_seq_len", "vace_in_channels", "base_dim", "decoder_base_dim",
     "d_model", "d_ff", "hidden_size", "intermediate_size", "num_channels"), _CHANNELS_LIMIT,
)  # fmt: skip
_NULLABLE = frozenset((
    "out_channels", "image_dim", "added_kv_proj_dim", "pos_embed_seq_len", "decoder_base_dim",
    "scale_factor_spatial", "patch_size", "vace_layers", "num_decoder_layers",
))  # fmt: skip
_NUMBERS = ("eps", "layer_norm_eps", "layer_norm_epsilon", "dropout", "dropout_rate")
_LISTS = {"patch_size": 3, "dim_mult": 16, "vace_layers": LAYERS_LIMIT, "temperal_downsample": 16}


def check_config(config: Mapping[str, Any], path: Path) -> None:
    """Raise WrongModel that names ``path`` and the field for a configuration that is nonsense."""
    inner = config.get("vision_config", {})
    _require(isinstance(inner, dict), "vision_config", inner, "an object", path)
    for part in (config, inner):
        for name, value in part.items():
            if value is None and name in _NULLABLE:
                continue
            for wrong, expected in _rules(name):
                _require(not wrong(value), name, value, expected, path)


def _rules(name: str) -> list[tuple[Callable[[Any], bool], str]]:
    if name in _INTEGERS:
        most = _INTEGERS[name]
        return [(lambda v: not (_is_count(v) and 0 <= v <= most), f"an integer of 0 to {most}")]
    if name in _NUMBERS:
        return [(lambda v: type(v) not in (int, float) or not 0 <= v <= 1, "a number of 0 to 1")]
    if name in _LISTS:
        return [(lambda v: not _is_short(v, name), f"at most {_LISTS[name]} small integers")]
    return [(_is_long, f"at most {_LIST_LIMIT} entries")]


def _is_count(value: Any) -> bool:
    return type(value) is int


def _is_short(value: Any, name: str) -> bool:
    """One integer, where a class takes that too, or a list of them."""
    values = value if isinstance(value, list | tuple) else [value]
    return 0 < len(values) <= _LISTS[name] and all(
        isinstance(v, int) and 0 <= v <= LAYERS_LIMIT for v in values
    )


def _is_long(value: Any) -> bool:
    return isinstance(value, list | tuple | dict) and len(value) > _LIST_LIMIT


def _require(right: bool, name: str, value: Any, expected: str, path: Path) -> None:
    if not right:
        raise WrongModel(
            f"{path}: {name} is {show(value)}; expected {expected}.",
            "Download it again, or choose another model.",
        )
