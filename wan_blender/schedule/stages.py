# SPDX-License-Identifier: GPL-3.0-or-later
"""A run as stages over one schedule: which steps, which model, which guidance, which LoRAs.

All stages share one list of falling sigmas, so the noise level at which one hands over is the
level at which the next begins: nothing is rescaled, the latents cross as they are. Exploration
(high noise) finds the motion, decision the layout, refinement the detail. numpy only: the panel
shows what the engine runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import InvalidJob
from ..core.settings import LoraUse, Sampling, Stage
from .noise import make_sigmas, shift_time, unshift


@dataclass(frozen=True)
class StageSteps:
    """Steps ``start`` .. ``stop`` (not included) of the run, all with one model."""

    stage: Stage
    start: int
    stop: int
    guidance: float
    solver: str


@dataclass(frozen=True)
class StagePlan:
    """``sigmas`` has one entry more than there are steps; ``spans`` cover all steps in order."""

    sigmas: list[float]
    spans: list[StageSteps]


def plan_stages(sampling: Sampling, stages: list[Stage], boundary: float | None) -> StagePlan:
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
            spans.append(StageSteps(stage, start, start + len(points), guidance, solver))
            sigmas += points
    return StagePlan(sigmas, spans)


def expert_at(stage: Stage, boundary: float | None, sigma: float) -> str:
    """Which expert a stage uses that begins at ``sigma``: "high", "low", or "auto" where a single
    model, without a ``boundary``, is used by a stage that names none."""
    if stage.expert != "auto" or boundary is None:
        return stage.expert
    return "high" if sigma >= boundary else "low"


def loras_for(run: list[LoraUse], stage: Stage, expert: str) -> list[LoraUse]:
    """Those of ``run`` and of the stage that are read for it: of its expert, "auto" takes them
    all, and of a strength that does something."""
    return [
        use
        for use in run + stage.loras
        if use.weight and (expert == "auto" or use.expert in ("both", expert))
    ]


def experts(boundary: float | None) -> list[Stage]:
    if boundary is None:
        return [Stage()]
    return [
        Stage(name="high noise", expert="high", end=boundary),
        Stage(name="low noise", expert="low"),
    ]


def _points(
    stage: Stage, start: float, end: float, grid: list[float], shift: float, index: int
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
