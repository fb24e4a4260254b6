# SPDX-License-Identifier: GPL-3.0-or-later
"""Which transformers belong together as high-noise and low-noise expert."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path

from ....model_info.listing import Identity
from ....model_info.names import is_distilled, model_of, name_of, stem_of, without_precision

Pair = tuple[Identity | None, Identity | None]  # high noise, low noise


def pair_experts(transformers: list[Identity]) -> list[Pair]:
    """(high, low) of experts whose names differ in nothing else, and of each model with experts
    that have no such twin one pair of two precisions; one of them None where the other is alone;
    (single, None)."""
    lows = [t for t in transformers if t.expert == "low"]
    pairs: list[Pair] = []
    for one in transformers:
        if one.expert == "high":
            pairs.append((one, _twin(one, lows)))
        elif not one.expert:
            pairs.append((one, None))
    taken = [low for _, low in pairs]
    pairs += [(None, low) for low in lows if low not in taken]
    for model in dict.fromkeys(_model(one) for one in _alone(pairs)):
        if model:
            pairs = _mix(pairs, model)
    return pairs


def partner(high: Identity, lows: list[Identity]) -> Identity | None:
    """Its twin, else the finest that is of the same model."""
    model = _model(high)
    return _twin(high, lows) or _finest(low for low in lows if model and _model(low) == model)


def name_of_pair(high: Identity | None, low: Identity | None) -> str:
    """One name for both; two that differ in precision are told by it."""
    name = name_of((high or low).path)
    if high and low and stem_of(name) != stem_of(name_of(low.path)):
        return f"{without_precision(name)} ({high.precision} high, {low.precision} low)"
    return name


def _alone(pairs: list[Pair]) -> list[Identity]:
    return [one for high, low in pairs if not (high and low) and (one := high or low).expert]


def _mix(pairs: list[Pair], model: tuple) -> list[Pair]:
    """``pairs`` with one of two precisions: the finest experts without a twin, or what replaces
    for one from a pair of the same model."""
    alone = [one for one in _alone(pairs) if _model(one) == model]
    every = [one for pair in pairs for one in pair if one and one.expert and _model(one) == model]
    high, low = (
        _finest(one for one in alone if one.expert == expert)
        or _finest(one for one in every if one.expert == expert)
        for expert in ("high", "low")
    )
    if not (high and low):
        return pairs
    lone = [(high, None), (None, low)]
    first = min(pairs.index(pair) for pair in lone if pair in pairs)
    return [pair for pair in [*pairs[:first], (high, low), *pairs[first:]] if pair not in lone]


def _twin(high: Identity, lows: list[Identity]) -> Identity | None:
    """The other one of a pair: beside it, else under the same name elsewhere."""
    same = [low for low in lows if (low.kind, low.width) == (high.kind, high.width)]
    for stem in (_stem, _short_stem):
        for low in same:
            if stem(low.path) == stem(high.path):
                return low
    return None


@functools.cache
def _stem(path: Path) -> str:
    return stem_of(str(path))


@functools.cache
def _short_stem(path: Path) -> str:
    return stem_of(f"{path.parent.name}/{path.name}")


@functools.cache
def _model(one: Identity) -> tuple:
    """What is the same for all copies of both experts of a model, and of no other model; () where
    its name does not tell."""
    name = model_of(one.path)
    fast = is_distilled(str(one.path)) or is_distilled(str(one.path.parent))
    sizes = (one.width, one.latent_channels, one.text_dim, one.image_dim, one.foreign)
    return (name, fast, one.kind, *sizes) if name else ()


def _finest(experts: Iterable[Identity]) -> Identity | None:
    return max(experts, key=_bits, default=None)


def _bits(one: Identity) -> int:
    """Of a weight; 0 when unknown."""
    found = re.search(r"\d+", one.precision)
    return int(found[0]) if found else 0
