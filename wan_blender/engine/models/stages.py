# SPDX-License-Identifier: GPL-3.0-or-later
"""A run as stages over one schedule: which steps, which model, which guidance, which LoRAs.

All stages share one list of falling sigmas, so the noise level at which one hands over is the
level at which the next begins: nothing is rescaled, the latents cross as they are. Exploration
(high noise) finds the motion, decision the layout, refinement the detail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from ... import job as jobs
from ...errors import InvalidJob
from ..schedule import make_sigmas, shift_time, unshift
from .loading import Bundle, open_model
from .lora import Lora, read_lora, set_loras
from .parts import Part, Watch
from .traits import Traits

_CHUNK = 1 << 24  # bytes


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


class StageModels:
    """Loads each stage's transformer when its turn comes and lets go of the one before."""

    def __init__(
        self,
        run: Bundle,
        model: jobs.Model,
        loras: list[jobs.Lora],
        plan: StagePlan,
        watch: Watch = lambda _doing: None,
    ) -> None:
        self._run, self._model, self._loras, self._plan = run, model, loras, plan
        self._watch = watch
        self._bundles: dict[tuple[str, str], Bundle] = {}
        self._read: dict[tuple[str, int], Lora] = {}
        self._parts = [self._part(span) for span in plan.spans]
        for span, part in zip(plan.spans, self._parts, strict=True):
            _same_latents(run.traits, part, span.stage)

    def use(self, span: Span) -> Any:
        """The transformer for ``span`` with its LoRAs on; the next stage's files are read ahead."""
        index = self._plan.spans.index(span)
        part = self._parts[index]
        for other in self._parts:
            if other is not part:
                other.unload()
        model = part.model
        set_loras(model, [(self._lora(use, model), use.weight) for use in self.loras(span)])
        if index + 1 < len(self._parts) and self._parts[index + 1] is not part:
            _read_ahead(self._parts[index + 1].files)
        return model

    def unload(self) -> None:
        """Let go of every transformer, also of those from other folders than the run's."""
        for part in self._parts:
            part.unload()
        self._read.clear()

    def loras(self, span: Span) -> list[jobs.Lora]:
        """Those of the run and of the stage that are for this stage's expert."""
        expert = "low" if self._part(span).name == "transformer_2" else "high"
        both = self._loras + span.stage.loras
        single = self._bundle(span.stage).traits.boundary is None
        return [use for use in both if single or use.expert in ("both", expert)]

    def _bundle(self, stage: jobs.Stage) -> Bundle:
        if not stage.model and stage.dtype == "auto":
            return self._run
        path = stage.model or self._model.path
        dtype = self._model.dtype if stage.dtype == "auto" else stage.dtype
        if (path, dtype) not in self._bundles:
            self._bundles[path, dtype] = open_model(path, self._model.device, dtype, self._watch)
        return self._bundles[path, dtype]

    def _part(self, span: Span) -> Part:
        bundle = self._bundle(span.stage)
        if bundle.traits.boundary is None or span.stage.expert == "auto":
            return bundle.expert(self._plan.sigmas[span.start]).part
        return bundle.experts[0 if span.stage.expert == "high" else 1].part

    def _lora(self, use: jobs.Lora, model: Any) -> Lora:
        key = (use.file, id(model))
        if key not in self._read:
            self._read[key] = read_lora(Path(use.file).expanduser(), model)
        return self._read[key]


def _same_latents(run: Traits, part: Part, stage: jobs.Stage) -> None:
    """Raise InvalidJob unless the stage's model reads and writes the run's kind of latents."""
    made, taken = part.config.get("out_channels"), part.config.get("in_channels")
    if (made, taken) != (run.latent_channels, run.in_channels):
        raise InvalidJob(
            f"Stage {stage.name or part.source!r} uses a model with {taken} input and {made} "
            f"output channels; the run's model has {run.in_channels} and {run.latent_channels}.",
            "Use models of one kind in all stages: all T2V, all I2V, or all VACE.",
        )


def _read_ahead(files: list[Path]) -> Thread:
    """Bring files into the system's cache, so that loading them finds them in memory. Memory that
    others need is given up by the system by itself."""

    def read() -> None:
        for path in files:
            with open(path, "rb", buffering=0) as file:
                while file.read(_CHUNK):
                    pass

    thread = Thread(target=read, name="read ahead", daemon=True)
    thread.start()
    return thread


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
