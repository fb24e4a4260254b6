# SPDX-License-Identifier: GPL-3.0-or-later
"""Schedules by name: steps, solvers and stages that belong together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import InvalidJob
from ..core.settings import LoraUse, Stage
from .noise import shift_time, unshift
from .stages import experts

Changes = dict[str, Any]  # {"sampling.steps": 4, "stages": [...]}

# (boundary, step-distill LoRAs for the high-noise and the low-noise expert) -> what is set
Preset = Callable[[float | None, tuple[str, str]], Changes]

_GUIDED_TO = 0.8333  # half of the steps, in time, at the shift of 5 that Wan was released with
FAST, SLOW = 8, 20  # steps with and without a step-distill LoRA


def _one(boundary: float | None, fast: tuple[str, str]) -> Changes:
    return {"stages": []}


def _two_experts(boundary: float | None, fast: tuple[str, str]) -> Changes:
    return {"stages": experts(boundary)}


def _distilled(boundary: float | None, fast: tuple[str, str]) -> Changes:
    """Four steps at shift 5 without guidance, as the four-step LoRAs were trained."""
    high, low = fast
    if high == low:
        loras = [LoraUse(file=high)]
    else:
        loras = [LoraUse(file=high, expert="high"), LoraUse(file=low, expert="low")]
    return {**_euler(4, 1.0), "loras": loras, "stages": []}


def _guided_start(boundary: float | None, fast: tuple[str, str]) -> Changes:
    """Guidance decides what is drawn where in the first steps; after them one call a step is
    enough."""
    high, low = ("auto", "auto") if boundary is None else ("high", "low")
    end = max(boundary or 0.0, _GUIDED_TO)
    stages = [Stage(name="guided", expert=high, end=end)]
    if boundary is not None and boundary < end:
        stages.append(Stage(name="unguided", expert=high, end=boundary, guidance=1.0))
    stages.append(Stage(name="refinement", expert=low, guidance=1.0))
    return {"stages": stages}


def _three(boundary: float | None, fast: tuple[str, str]) -> Changes:
    """Exploration, decision and refinement by one model, for instance in three precisions."""
    explored, edge = _explored(5.0), boundary or 0.875
    return {
        "sampling.steps": SLOW,
        "sampling.shift": 5.0,
        "stages": [
            Stage(name="exploration", expert="high", end=explored),
            Stage(name="decision", expert="high", end=edge),
            Stage(name="refinement", expert="low"),
        ],
    }


def _three_fast(boundary: float | None, fast: tuple[str, str]) -> Changes:
    """Exploration without LoRA and with guidance for the first of FAST distilled steps, at the
    density of a SLOW-step run; then the distilled rest: its high-noise steps decide, its
    low-noise steps refine."""
    shift, (high, low) = 5.0, fast
    explored, edge = _explored(shift), boundary or 0.875
    decisions = max(1, round((unshift(explored, shift) - unshift(edge, shift)) * FAST))
    return {
        **_euler(FAST, 1.0),
        "loras": [],
        "stages": [
            Stage(
                name="exploration", expert="high", steps=-(-SLOW // FAST), end=explored,
                guidance=3.5,
            ),
            Stage(
                name="decision", expert="high", steps=decisions, end=edge,
                loras=[LoraUse(file=high)],
            ),
            Stage(
                name="refinement", expert="low", steps=FAST - 1 - decisions,
                loras=[LoraUse(file=low)],
            ),
        ],
    }  # fmt: skip


def _explored(shift: float) -> float:
    """The noise level after the first of FAST steps."""
    return round(float(shift_time(np.array(1 - 1 / FAST), shift)), 4)


def _euler(steps: int, guidance: float) -> Changes:
    return {
        "sampling.steps": steps,
        "sampling.shift": 5.0,
        "sampling.guidance": guidance,
        "sampling.solver": "euler",
    }


# Name -> title, what it is, and whether it takes step-distill LoRAs.
PRESETS: dict[str, tuple[str, str, bool, Preset]] = {
    "one": ("One Model", "One model, or each expert for its own noise levels", False, _one),
    "experts": (
        "Two Experts",
        "The two experts of Wan 2.2 as stages of their own, changed at their boundary",
        False,
        _two_experts,
    ),
    "guided_start": (
        "Guidance at the Start",
        "Guidance for the first half of the steps, which it decides about; the others take half "
        "the time",
        False,
        _guided_start,
    ),
    "three": (
        "Three Stages",
        "Exploration, decision and refinement, each with a model file of its own if you like",
        False,
        _three,
    ),
    "three_fast": (
        "Three Samplers, Distilled",
        "Explore without, decide and refine with a step-distill LoRA",
        True,
        _three_fast,
    ),
    "distilled": ("4 Steps, Distilled", "Four steps with a step-distill LoRA", True, _distilled),
}


def preset(name: str, boundary: float | None, fast: tuple[str, str] = ("", "")) -> Changes:
    """What a preset sets, by dotted names of settings; ``fast`` are the files of the step-distill
    LoRAs for high and low noise, often the same. Raises InvalidJob for a name that is not in
    PRESETS and when the LoRAs it takes are not given."""
    if name not in PRESETS:
        raise InvalidJob(f"There is no preset {name!r}.", f"Known: {', '.join(PRESETS)}.")
    title, _, takes_lora, make = PRESETS[name]
    if takes_lora and not all(fast):
        raise InvalidJob(
            f"{title!r} needs a step-distill LoRA for this model, and none was found.",
            "Download one in the Model panel, or add the folder it is in to the preferences.",
        )
    return make(boundary, fast)
