# SPDX-License-Identifier: GPL-3.0-or-later
"""A run as the rules of advice.py look at it: who takes which steps, with which files, and
what a change of settings would make of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..core.settings import LoraUse, Sampling, Stage
from ..model_info.names import is_distilled, telling_name
from ..model_info.traits import Traits
from .noise import unshift
from .presets import Changes
from .stages import StagePlan, StageSteps, expert_at, experts, loras_for, plan_stages

# A step-distill LoRA at less than half its weight only helps along: it is neither held to what it
# was made for nor missed.
FULL_WEIGHT = 0.5


@dataclass(frozen=True)
class ScheduledRun:
    """``width`` and ``height`` are the model's, in pixels, before they are padded; ``frames`` those
    it sees at once; ``files`` those of its transformers, by part."""

    sampling: Sampling
    stages: list[Stage]  # of the settings
    loras: list[LoraUse]
    model: str
    files: Mapping[str, Sequence[str]]
    traits: Traits
    width: int
    height: int
    frames: int

    @cached_property
    def plan(self) -> StagePlan:
        return plan_stages(self.sampling, self.all_stages, self.traits.boundary)

    @cached_property
    def all_stages(self) -> list[Stage]:
        """Those of the settings, or what a run without any is made of."""
        return self.stages or experts(self.traits.boundary)

    @property
    def spans(self) -> list[StageSteps]:
        return self.plan.spans

    @property
    def steps(self) -> int:
        return len(self.plan.sigmas) - 1

    @property
    def follows_schedule(self) -> bool:
        """Whether ``sampling.steps`` is the number of steps."""
        return not self.sampling.sigmas and all(stage.steps == 0 for stage in self.stages)

    # -- who takes which steps

    def of_expert(self, expert: str) -> list[StageSteps]:
        return [span for span in self.spans if self.expert(span) == expert]

    def expert(self, span: StageSteps) -> str:
        """ "high", "low", or "auto" for the one transformer of a model."""
        return expert_at(span.stage, self.traits.boundary, self.plan.sigmas[span.start])

    def share(self, spans: Iterable[StageSteps]) -> float:
        """Of the run's shift-free time, 0 to 1: a schedule gives it that share of the steps."""
        whole = self._time(0) - self._time(-1)
        return sum(self._time(span.start) - self._time(span.stop) for span in spans) / whole

    def name(self, spans: list[StageSteps]) -> str:
        """Who takes these steps: "the high-noise expert"."""
        return "the " + " and the ".join(self._name(span) for span in spans)

    def _name(self, span: StageSteps) -> str:
        if self.stages and span.stage.name:
            return f"{span.stage.name} stage"
        expert = self.expert(span)
        if expert != "auto" and len(self.of_expert(expert)) == 1:
            return f"{expert}-noise expert"
        return f"stage at noise {self.plan.sigmas[span.start]:.2f}"

    def _time(self, step: int) -> float:
        return unshift(self.plan.sigmas[step], self.sampling.shift)

    # -- what they take them with

    @cached_property
    def fast(self) -> list[StageSteps]:
        """Those whose model or LoRA is step-distilled."""
        return [span for span in self.spans if self.fast_file(span)]

    @cached_property
    def slow(self) -> list[StageSteps]:
        """Those that nothing helps along."""
        return [span for span in self.spans if not self.fast_file(span, least=0)]

    def fast_file(self, span: StageSteps, least: float = FULL_WEIGHT) -> str:
        """The LoRA or model that a span is step-distilled by; "" for none. LoRAs count from the
        weight ``least`` on, and never at 0."""
        read = loras_for(self.loras, span.stage, self.expert(span))
        loras = [use.file for use in read if 0 < use.weight >= least]
        return next(filter(is_distilled, [*loras, *self._models(span)]), "")

    def _models(self, span: StageSteps) -> list[str]:
        if span.stage.model:
            return [span.stage.model]
        low = self.files.get("transformer_2", ()) if self.expert(span) == "low" else ()
        return [self.model, *(low or self.files.get("transformer", ()))]

    # -- what would change it

    def shift_at(self, edge: float, step: int) -> float:
        """The shift at which ``step`` begins at the noise level ``edge``. A shift moves the noise
        levels of a schedule and leaves their times as they are."""
        time = self._time(step)
        return edge * (1 - time) / ((1 - edge) * time)

    def change(
        self, spans: list[StageSteps], values: Callable[[StageSteps], dict[str, Any]]
    ) -> Changes:
        """The setting that gives the stages of ``spans`` other values, and no others."""
        new = {id(span.stage): replace(span.stage, **values(span)) for span in spans}
        return {"stages": [new.get(id(stage), stage) for stage in self.all_stages]}

    def with_steps(self, spans: list[StageSteps], steps: Callable[[StageSteps], int]) -> Changes:
        """The setting that gives each of ``spans`` so many steps over the noise levels it has."""

        def values(span: StageSteps) -> dict[str, Any]:
            if span.stage.end >= 0 or span.stage is self.all_stages[-1]:
                return {"steps": steps(span)}
            # Down to where it ends now; a little below, or what follows would begin with a step of
            # next to no length.
            end = math.floor(self.plan.sigmas[span.stop] * 1e4) / 1e4
            return {"steps": steps(span), "end": end}

        return self.change(spans, values)

    def after(self, changes: Changes) -> ScheduledRun:
        """The run with these settings changed."""
        new: dict[str, Any] = {}
        if "stages" in changes:
            new["stages"] = changes["stages"]
        sampling = {
            name.removeprefix("sampling."): value
            for name, value in changes.items()
            if name.startswith("sampling.")
        }
        if sampling:
            new["sampling"] = replace(self.sampling, **sampling)
        if "windows.frames" in changes:
            seen = changes["windows.frames"] or self.traits.native_frames
            new["frames"] = min(self.frames, seen)
        if "region.pixels" in changes:  # the crop is then scaled to whole tokens
            new["width"], new["height"] = self.nearest_size
        return replace(self, **new)

    @property
    def multiple(self) -> int:
        """What the model's sizes are multiples of, in pixels."""
        return self.traits.cell * self.traits.patch

    @property
    def nearest_size(self) -> tuple[int, int]:
        width, height = (
            max(round(side / self.multiple), 1) * self.multiple
            for side in (self.width, self.height)
        )
        return width, height


def short_name(file: str) -> str:
    """What a file is called in a sentence."""
    name = telling_name(file).rpartition("--")[2]  # without the author, in the cache
    return name.removesuffix(".safetensors").removesuffix(".gguf")
