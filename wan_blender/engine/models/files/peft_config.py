# SPDX-License-Identifier: GPL-3.0-or-later
"""What PEFT writes beside an adapter or into its file: how strongly each layer is changed. No
torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....core.errors import WeightsMissing
from ....core.schema import show
from ....model_info.folder import read_object

_IN_FILE = "lora_adapter_metadata"  # diffusers' name for it; its keys begin with a component's name
BESIDE = "adapter_config.json"
_ALPHA_DEFAULT = 8.0  # PEFT's own, of LoRA, LoHa and LoKr
_PATTERNS_LIMIT, _PATTERN_LIMIT = 10_000, 256  # patterns, and characters of one
# Repeated groups take exponential time where they do not match, many repeats a high power.
_SLOW = re.compile(r"\)[*+?{]|([*+{].*){5}")


@dataclass(frozen=True)
class PeftConfig:
    """``rank`` and ``alpha`` of all layers but those that a pattern matches: a regular expression
    for the end of a layer's name. Scale is alpha / rank, or alpha / sqrt(rank) for rank-stabilised
    LoRA (arXiv 2312.03732)."""

    alpha: float
    rank: float | None = None
    stabilised: bool = False
    alphas: Mapping[str, float] = field(default_factory=dict)
    ranks: Mapping[str, float] = field(default_factory=dict)

    def alpha_of(self, names: tuple[str, ...]) -> float:
        """Of a layer, by the first of its ``names`` that a pattern matches."""
        return _matching(self.alphas, names, self.alpha)

    def rank_of(self, names: tuple[str, ...]) -> float | None:
        return _matching(self.ranks, names, self.rank)

    def scale(self, alpha: float, rank: float) -> float:
        return alpha / (math.sqrt(rank) if self.stabilised else rank)


def read_peft_config(path: Path, metadata: Mapping[str, str]) -> PeftConfig | None:
    """Of the adapter ``path``, whose header has ``metadata``; None where PEFT wrote nothing. Raises
    WeightsMissing for one that cannot be read."""
    if text := metadata.get(_IN_FILE):
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise damaged(path, f"its {_IN_FILE} is not JSON: {error}") from error
        if not isinstance(data, dict):
            raise damaged(path, f"its {_IN_FILE} is {show(data)}, no object")
        return _config(path, _of_transformer(data))
    beside = path.parent / BESIDE
    if path.stem == "adapter_model" and beside.is_file():
        return _config(beside, read_object(beside))
    return None


def damaged(path: Path, why: str) -> WeightsMissing:
    return WeightsMissing(f"{path} is not a usable LoRA: {why}.", "Download the file again.")


def finite(path: Path, name: str, value: Any) -> float:
    """Raises WeightsMissing unless ``value`` is one finite number."""
    try:
        if not isinstance(value, bool | str) and math.isfinite(value):
            return float(value)
    except (TypeError, OverflowError):
        pass
    raise damaged(path, f"{name} is {show(value)}, expected one finite number")


def _of_transformer(data: dict[str, Any]) -> dict[str, Any]:
    """Its entries, by PEFT's names; those of a text encoder do not count."""
    return {
        key.rpartition(".")[2]: value
        for key, value in data.items()
        if not key.startswith("text_encoder")
    }


def _config(path: Path, data: dict[str, Any]) -> PeftConfig | None:
    if not data.keys() & {"r", "lora_alpha", "alpha", "alpha_pattern", "rank_pattern"}:
        return None
    name = "lora_alpha" if "lora_alpha" in data else "alpha"
    rank = data.get("r")
    return PeftConfig(
        finite(path, name, data.get(name, _ALPHA_DEFAULT)),
        None if rank is None else _positive(path, "r", rank),
        bool(data.get("use_rslora")),
        _patterns(path, "alpha_pattern", data),
        {k: _positive(path, k, v) for k, v in _patterns(path, "rank_pattern", data).items()},
    )


def _positive(path: Path, name: str, value: Any) -> float:
    rank = finite(path, name, value)
    if rank <= 0:
        raise damaged(path, f"{name} is {rank:g}, expected a rank above 0")
    return rank


def _patterns(path: Path, name: str, data: dict[str, Any]) -> dict[str, float]:
    patterns = data.get(name) or {}
    if not isinstance(patterns, dict) or len(patterns) > _PATTERNS_LIMIT:
        raise damaged(path, f"{name} is {show(patterns)}, expected layers and numbers")
    for pattern in patterns:
        if len(pattern) > _PATTERN_LIMIT or _SLOW.search(pattern):
            raise damaged(
                path, f"{name} has {show(pattern)}, which is too long or repeats too much"
            )
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise damaged(path, f"{name} has {show(pattern)}: {error}") from error
    return {pattern: finite(path, pattern, value) for pattern, value in patterns.items()}


def _matching(patterns: Mapping[str, float], names: tuple[str, ...], default: Any) -> Any:
    for pattern, value in patterns.items():
        if any(re.match(rf"(.*\.)?({pattern})$", name) for name in names):
            return value
    return default
