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
    steps down to it, one with both takes that many, even in shift-free time unless the schedule
    has just as many there. A stage that the
    run does not reach (strength below its end) has no span.
    """
    grid = make_sigmas(
        sampling.schedule, sampling.steps, sampling.shift, sampling.strength, sampling.sigmas
    ).tolist()
    if not stages:
        stages = experts(boundary)
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


def expert_at(stage: jobs.Stage, boundary: float | None, sigma: float) -> str:
    """Which expert a stage uses that begins at ``sigma``: "high", "low", or "auto" where a single
    model, without a ``boundary``, is used by a stage that names none."""
    if stage.expert != "auto" or boundary is None:
        return stage.expert
    return "high" if sigma >= boundary else "low"


def loras_for(run: list[jobs.Lora], stage: jobs.Stage, expert: str) -> list[jobs.Lora]:
    """Those of ``run`` and of the stage that are read for it: of its expert, "auto" takes them
    all, and of a strength that does something."""
    return [
        use
        for use in run + stage.loras
        if use.weight and (expert == "auto" or use.expert in ("both", expert))
    ]


def experts(boundary: float | None) -> list[jobs.Stage]:
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
    points: list[float] = []
    for sigma in rest:
        if (points[-1] if points else start) < end:
            break
        points.append(sigma)
    # as many steps as the schedule has there are the schedule's own: a split changes nothing
    is_own = start in grid and points[-1] == end and len(points) == stage.steps
    if is_own or not stage.steps:
        return points
    times = np.linspace(unshift(start, shift), unshift(end, shift), stage.steps + 1)
    return [*shift_time(times[1:-1], shift).tolist(), end]


Changes = dict[str, Any]  # {"sampling.steps": 4, "stages": [...]}
# (boundary, step-distill LoRAs for the high-noise and the low-noise expert) -> what is set
Preset = Callable[[float | None, tuple[str, str]], Changes]
FAST, SLOW = 8, 20  # steps with and without a step-distill LoRA


def _one(boundary: float | None, fast: tuple[str, str]) -> Changes:
    return {"stages": []}


def _two_experts(boundary: float | None, fast: tuple[str, str]) -> Changes:
    return {"stages": experts(boundary)}


def _distilled(boundary: float | None, fast: tuple[str, str]) -> Changes:
    """Four steps at shift 5 without guidance, as the four-step LoRAs were trained."""
    high, low = fast
    if high == low:
        loras = [jobs.Lora(file=high)]
    else:
        loras = [jobs.Lora(file=high, expert="high"), jobs.Lora(file=low, expert="low")]
    return {**_euler(4, 1.0), "loras": loras, "stages": []}


def _three(boundary: float | None, fast: tuple[str, str]) -> Changes:
    """Exploration, decision and refinement by one model, for instance in three precisions."""
    explored, edge = _explored(5.0), boundary or 0.875
    return {
        "sampling.steps": SLOW,
        "sampling.shift": 5.0,
        "stages": [
            jobs.Stage(name="exploration", expert="high", end=explored),
            jobs.Stage(name="decision", expert="high", end=edge),
            jobs.Stage(name="refinement", expert="low"),
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
            jobs.Stage(
                name="exploration", expert="high", steps=-(-SLOW // FAST), end=explored,
                guidance=3.5,
            ),
            jobs.Stage(
                name="decision", expert="high", steps=decisions, end=edge,
                loras=[jobs.Lora(file=high)],
            ),
            jobs.Stage(
                name="refinement", expert="low", steps=FAST - 1 - decisions,
                loras=[jobs.Lora(file=low)],
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
