# SPDX-License-Identifier: GPL-3.0-or-later
"""A run as stages over one schedule: which steps, which model, which guidance, which LoRAs.

All stages share one list of falling sigmas, so the noise level at which one hands over is the
level at which the next begins: nothing is rescaled, the latents cross as they are. Exploration
(high noise) finds the motion, decision the layout, refinement the detail. numpy only: the panel
shows what the engine runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import job as jobs
from .errors import InvalidJob
from .schedule import make_sigmas, shift_time, unshift


@dataclass(frozen=True)
class Span:
    """Steps ``start`` .. ``stop`` (not included) of the run, all with one model."""

    stage: jobs.Stage
    start: int
    stop: int
    guidance: float
    solver: str


@dataclass(frozen=True)
class StagePlan:
    """``sigmas`` has one entry more than there are steps; ``spans`` cover all steps in order."""

    sigmas: list[float]
    spans: list[Span]


def plan_stages(
    sampling: jobs.Sampling, stages: list[jobs.Stage], boundary: float | None
) -> StagePlan:
    """The schedule of the whole run and each stage's share of it.

    Without ``stages`` there is one for each expert: a step belongs to the high-noise expert when
    its sigma is at least ``boundary``. A stage with an end but no steps takes the schedule's own
    steps down to it, one with both takes that many, even in shift-free time. A stage that the
    run does not reach (strength below its end) has no span.
    """
    grid = make_sigmas(
        sampling.schedule, sampling.steps, sampling.shift, sampling.strength, sampling.sigmas
    ).tolist()
    if not stages:
        stages = _experts(boundary)
    sigmas, spans = grid[:1], []
    for index, stage in enumerate(stages):
        end = 0.0 if index == len(stages) - 1 else stage.end
        points = _points(stage, sigmas[-1], end, grid, sampling.shift, index)
        if points:
            guidance = sampling.guidance if stage.guidance < 0 else stage.guidance
            solver = sampling.solver if stage.solver == "same" else stage.solver
            start = len(sigmas) - 1
            spans.append(Span(stage, start, start + len(points), guidance, solver))
            sigmas += points
    return StagePlan(sigmas, spans)


def _experts(boundary: float | None) -> list[jobs.Stage]:
    if boundary is None:
        return [jobs.Stage()]
    return [
        jobs.Stage(name="high noise", expert="high", end=boundary),
        jobs.Stage(name="low noise", expert="low"),
    ]


def _points(
    stage: jobs.Stage, start: float, end: float, grid: list[float], shift: float, index: int
) -> list[float]:
    """The sigmas after ``start`` down to where the stage ends."""
    rest = [sigma for sigma in grid if sigma < start]
    if end < 0:
        if stage.steps == 0:
            raise InvalidJob(
                f"stages[{index}] ({stage.name}) has neither steps nor an end.",
                "Give one of them to every stage but the last.",
            )
        return rest[: stage.steps]
    if start <= end:
        return []
    if stage.steps:
        times = np.linspace(unshift(start, shift), unshift(end, shift), stage.steps + 1)
        return [*shift_time(times[1:-1], shift).tolist(), end]
    points: list[float] = []
    for sigma in rest:
        if (points[-1] if points else start) < end:
            break
        points.append(sigma)
    return points


Preset = Callable[[float | None, str], dict[str, Any]]


def _one(boundary: float | None, lora: str) -> dict[str, Any]:
    return {"stages": []}


def _two_experts(boundary: float | None, lora: str) -> dict[str, Any]:
    return {"stages": _experts(boundary)}


def _distilled(boundary: float | None, lora: str) -> dict[str, Any]:
    """Four steps at shift 5 without guidance, as the four-step LoRAs were trained."""
    return {
        "sampling.steps": 4,
        "sampling.shift": 5.0,
        "sampling.guidance": 1.0,
        "sampling.solver": "euler",
        "loras": [jobs.Lora(file=lora)],
        "stages": [],
    }


def _three(boundary: float | None, lora: str, fast: int = 8, slow: int = 20) -> dict[str, Any]:
    """Exploration without LoRA and with guidance for the first of ``fast`` distilled steps, at the
    density of a ``slow``-step run; then the distilled rest: its high-noise steps decide, its
    low-noise steps refine."""
    shift = 5.0
    explored = float(shift_time(np.array(1 - 1 / fast), shift))
    edge = boundary or 0.875
    decisions = max(1, round((unshift(explored, shift) - unshift(edge, shift)) * fast))
    use = jobs.Lora(file=lora)
    return {
        "sampling.steps": fast,
        "sampling.shift": shift,
        "sampling.guidance": 1.0,
        "sampling.solver": "euler",
        "loras": [],
        "stages": [
            jobs.Stage(
                name="exploration", expert="high", steps=-(-slow // fast), end=explored,
                guidance=3.5,
            ),
            jobs.Stage(name="decision", expert="high", steps=decisions, end=edge, loras=[use]),
            jobs.Stage(
                name="refinement", expert="low", steps=fast - 1 - decisions, loras=[use]
            ),
        ],
    }  # fmt: skip


PRESETS: dict[str, tuple[str, Preset]] = {
    "one": ("One model for all steps", _one),
    "experts": ("The two experts of Wan 2.2, changed at their boundary", _two_experts),
    "three": ("Explore without, decide and refine with a step-distill LoRA", _three),
    "distilled": ("Four steps with a step-distill LoRA", _distilled),
}


def preset(name: str, boundary: float | None, lora: str = "") -> dict[str, Any]:
    """What a preset sets, as {"sampling.steps": 4, "stages": [...], ...}; ``lora`` is the
    step-distill LoRA's file. Raises InvalidJob for a name that is not in PRESETS."""
    if name not in PRESETS:
        raise InvalidJob(f"There is no preset {name!r}.", f"Known: {', '.join(PRESETS)}.")
    return PRESETS[name][1](boundary, lora)
