# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a run's schedule before it starts and say in words what practice advises against.

Every finding names its rule; docs/schedule_rules.md says where the rule comes from. A fix is a
set of assignments to settings, so that a button can apply it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from . import job as jobs
from .file_names import is_distilled
from .schedule import unshift
from .stages import Span, StagePlan, plan_stages
from .traits import Traits

_LAYOUT = 0.875  # above this noise level motion and layout are made: Wan 2.2's boundary
_TOLERANCE = 2.5  # a shift this many times off its recommended value is worth a word


@dataclass(frozen=True)
class Finding:
    """``fix`` maps settings ("sampling.shift") to the values that cure it; empty when none does."""

    rule: str
    message: str
    fix: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Run:
    """What the rules look at. Sizes are the model's: pixels, before they are padded, and frames."""

    sampling: jobs.Sampling
    plan: StagePlan
    stages: list[jobs.Stage]
    traits: Traits
    distilled: str  # in words, what is step-distilled in the last stage; "" for nothing
    width: int
    height: int
    frames: int  # that the model sees at once

    @property
    def steps(self) -> int:
        return len(self.plan.sigmas) - 1

    @property
    def high_steps(self) -> int:
        """Steps that the high-noise expert takes."""
        return sum(span.stop - span.start for span in self.plan.spans if self._is_high(span))

    @property
    def follows_schedule(self) -> bool:
        """Whether ``sampling.steps`` is the number of steps."""
        return not self.sampling.sigmas and all(stage.steps == 0 for stage in self.stages)

    def shift_at(self, edge: float, step: int) -> float:
        """The shift at which ``step`` begins at the noise level ``edge``. A shift moves the noise
        levels of a schedule and leaves their times as they are."""
        time = unshift(self.plan.sigmas[step], self.sampling.shift)
        return edge * (1 - time) / ((1 - edge) * time)

    def with_shift(self, shift: float) -> Run:
        sampling = replace(self.sampling, shift=shift)
        plan = plan_stages(sampling, self.stages, self.traits.boundary)
        return replace(self, sampling=sampling, plan=plan)

    def longer(self, span: Span | None, steps: int) -> dict[str, Any]:
        """The setting that gives the span's stage ``steps`` more steps; {} for no span, and where a
        stage without an end finds no more in the schedule."""
        if span is None:
            return {}
        more = replace(span.stage, steps=span.stop - span.start + steps)
        stages = [more if stage is span.stage else stage for stage in self.stages]
        spans = plan_stages(self.sampling, stages, self.traits.boundary).spans
        found = any(s.stage is more and s.stop - s.start == more.steps for s in spans)
        return {"stages": stages} if found else {}

    def span_of(self, high: bool) -> Span | None:
        """The last span of that expert whose stage is in the settings."""
        found = [span for span in self.plan.spans if self._is_high(span) == high]
        return found[-1] if found and self.stages else None

    def _is_high(self, span: Span) -> bool:
        if span.stage.expert != "auto":
            return span.stage.expert == "high"
        return self.plan.sigmas[span.start] >= self.traits.boundary


def check_schedule(
    job: jobs.Job,
    traits: Traits,
    width: int,
    height: int,
    frames: int,
    files: Iterable[str] = (),
) -> list[Finding]:
    """Findings on ``job`` for a model with ``traits`` and a shot of ``frames`` that it sees at
    ``width`` x ``height`` (before they are padded), most important first. ``files`` are those of
    the model's last transformer."""
    plan = plan_stages(job.sampling, job.stages, traits.boundary)
    last = plan.spans[-1].stage if plan.spans else jobs.Stage()
    distilled = ""
    if any(is_distilled(use.file) for use in job.loras + last.loras):
        distilled = "A step-distill LoRA is on"
    elif any(map(is_distilled, [last.model] if last.model else [job.model.path, *files])):
        distilled = "The model is step-distilled"
    seen = min(frames, job.windows.frames or traits.native_frames)
    run = Run(job.sampling, plan, job.stages, traits, distilled, width, height, seen)
    return [finding for rule in _RULES for finding in rule(run)]


def recommended_shift(traits: Traits, width: int, height: int) -> float:
    """The shift the model's folder names, else the one its kind was released with for the size."""
    if traits.shift is not None:
        return traits.shift
    if traits.kind == "ti2v":
        return 5.0
    if traits.boundary is not None:
        return 5.0 if traits.needs_image else 12.0
    if traits.kind in ("vace", "flf2v"):
        return 16.0
    if traits.kind == "i2v" and width * height <= 832 * 480:
        return 3.0
    return 5.0


def _too_few_decisions(run: Run) -> Iterator[Finding]:
    edge = run.traits.boundary
    if edge is None or run.sampling.strength < 1 or run.steps < 2:
        return
    have = run.high_steps
    if have >= 2:
        return
    message = (
        f"Only {have} of {run.steps} steps are the high-noise expert's, which makes motion and "
        f"layout above the boundary {edge:g}."
    )
    fix: dict[str, Any] = {}
    span = run.span_of(high=True)
    if run.stages and not run.follows_schedule:
        message += " Give its stage more steps."
        fix = run.longer(span, 2 - have)
    elif run.sampling.sigmas:
        message += " Begin with more noise levels above it."
    else:
        message += " Raise the shift or take more steps."
        needed = run.shift_at(edge, 1)
        time = unshift(edge, run.sampling.shift)  # even: the second step begins at 1 - 1/steps
        fix = {"sampling.steps": math.ceil(1 / (1 - time)) + 1}
        if needed <= 16:
            fix = {"sampling.shift": math.floor(max(needed, 1.0) * 2 + 1) / 2}
        shift = fix.get("sampling.shift")
        if run.stages and (shift is None or run.with_shift(shift).high_steps < 2):
            fix = run.longer(span, 2 - have)
    yield Finding("few-decisions", message, fix)


def _wasted_above(run: Run) -> Iterator[Finding]:
    edge = run.traits.boundary
    if edge is None or run.steps < 4:
        return
    high = run.high_steps
    low = run.steps - high
    if high <= 0.75 * run.steps:
        return
    message = (
        f"{high} of {run.steps} steps are the high-noise expert's, above the boundary {edge:g}; "
        f"the low-noise expert is left with {low} for all detail."
    )
    fix: dict[str, Any] = {}
    span = run.span_of(high=False)
    if span and span.stage is not run.stages[-1]:
        span = None
    if run.stages and not run.follows_schedule:
        message += " Give its stage more steps."
        fix = run.longer(span, math.ceil(high / 3) - low)
    elif run.sampling.sigmas:
        message += " End with more noise levels below it."
    else:
        message += " Lower the shift."
        most = run.shift_at(edge, int(0.75 * run.steps))
        best = recommended_shift(run.traits, run.width, run.height)
        lower = best if best < most else max(math.ceil(most * 2 - 1) / 2, 0.5)
        fix = {"sampling.shift": lower}
        after = run.with_shift(lower)
        if run.stages and after.high_steps > 0.75 * after.steps:
            fix = run.longer(span, math.ceil(high / 3) - low)
    yield Finding("wasted-above", message, fix)


def _shift_at_odds(run: Run) -> Iterator[Finding]:
    if run.sampling.sigmas or run.sampling.strength < 1:
        return
    best = 5.0 if run.distilled else recommended_shift(run.traits, run.width, run.height)
    have = run.sampling.shift
    if best / _TOLERANCE <= have <= best * _TOLERANCE:
        return
    side = "Motion and layout get few steps" if have < best else "Detail gets few steps"
    yield Finding(
        "shift",
        f"Shift {have:g} is far from {best:g}, with which this kind of model is used at "
        f"{run.width}x{run.height}. {side}.",
        {"sampling.shift": best},
    )


def _few_steps_at_low_shift(run: Run) -> Iterator[Finding]:
    """What few decisions are to a pair of experts, a first step too long is to a single model."""
    one = run.traits.boundary is None and run.traits.latent_channels >= 16
    if not one or run.sampling.strength < 1 or run.steps < 3 or run.plan.sigmas[1] >= _LAYOUT:
        return
    needed = run.shift_at(_LAYOUT, 1)
    fixed = run.sampling.sigmas or run.stages or needed > 16
    yield Finding(
        "shift-steps",
        f"The first of {run.steps} steps ends at noise level {run.plan.sigmas[1]:.2f}: motion and "
        f"layout, which are made above {_LAYOUT:g}, get this one step. Raise the shift or take "
        "more steps.",
        {} if fixed else {"sampling.shift": math.floor(max(needed, 1.0) * 2 + 1) / 2},
    )


def _distilled_with_guidance(run: Run) -> Iterator[Finding]:
    if not run.distilled:
        return
    guidance = run.plan.spans[-1].guidance
    if guidance > 1:
        yield Finding(
            "distilled-guidance",
            f"{run.distilled} and guidance is {guidance:g}. Guidance is built in: more of it burns "
            "the picture and doubles the time.",
            _guidance_of_the_end(run, 1.0),
        )
    if run.steps > 12 and len(run.plan.spans) < 3:
        yield Finding(
            "distilled-steps",
            f"{run.distilled} and there are {run.steps} steps; it was made for 4 to 8.",
            {"sampling.steps": 6} if run.follows_schedule else {},
        )


def _guidance_of_the_end(run: Run, guidance: float) -> dict[str, Any]:
    """The setting that gives the last stage this guidance: its own, where it has one."""
    last = run.plan.spans[-1].stage
    if last.guidance < 0:
        return {"sampling.guidance": guidance}
    return {
        "stages": [
            replace(stage, guidance=guidance) if stage == last else stage for stage in run.stages
        ]
    }


def _too_few_steps(run: Run) -> Iterator[Finding]:
    if not run.distilled and run.steps < 10 and run.traits.latent_channels >= 16:
        yield Finding(
            "few-steps",
            f"{run.steps} steps without a step-distill LoRA leave the result blurred.",
            {"sampling.steps": 20} if run.follows_schedule else _more_at_the_end(run, 20),
        )


def _more_at_the_end(run: Run, steps: int) -> dict[str, Any]:
    last = run.plan.spans[-1]
    in_settings = any(stage is last.stage for stage in run.stages)
    return run.longer(last, steps - run.steps) if in_settings else {}


def _size(run: Run) -> Iterator[Finding]:
    multiple = run.traits.cell * run.traits.patch
    if run.width % multiple or run.height % multiple:
        to = [-(-side // multiple) * multiple for side in (run.width, run.height)]
        near = [max(round(side / multiple), 1) * multiple for side in (run.width, run.height)]
        yield Finding(
            "size",
            f"{run.width}x{run.height} is not a multiple of {multiple}, which this model needs. "
            f"The picture is padded to {to[0]}x{to[1]} and cut again.",
            {"region.pixels": near[0] * near[1]},
        )


def _length(run: Run) -> Iterator[Finding]:
    limit = run.traits.native_frames
    if run.frames > limit:
        yield Finding(
            "length",
            f"{run.frames} frames at once are more than the {limit} this model was trained on: the "
            "motion tends to loop back. Use windows of what it knows, or split the shot.",
            {"windows.frames": 0},
        )


_RULES = (
    _distilled_with_guidance,
    _too_few_decisions,
    _wasted_above,
    _too_few_steps,
    _shift_at_odds,
    _few_steps_at_low_shift,
    _size,
    _length,
)
