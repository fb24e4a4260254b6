# SPDX-License-Identifier: GPL-3.0-or-later
"""Each stage's transformer, loaded when its turn comes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

from ...core.errors import WrongModel
from ...core.settings import LoraUse, Model, Stage
from ...schedule.stages import StagePlan, StageSteps, expert_at, loras_for
from .bundle import KIND, Bundle, open_model
from .files.lora import Lora, set_loras
from .files.lora_files import check_lora, lora_file, read_lora
from .files.peft_config import BESIDE
from .held import stamp
from .memory import MemoryPlan
from .parts import Component, OnTensor

_CHUNK = 1 << 24  # bytes


class StageModels:
    """Loads each stage's transformer when its turn comes and lets go of the one before."""

    def __init__(
        self,
        run: Bundle,
        model: Model,
        loras: list[LoraUse],
        plan: StagePlan,
        watch: OnTensor = lambda part, done, total: None,
    ) -> None:
        self._run, self._model, self._loras, self._plan = run, model, loras, plan
        self._watch = watch
        self._bundles: dict[tuple[str, str], Bundle] = {}
        self._read: dict[tuple[str, int], Lora] = {}
        self._parts = [self._part(span) for span in plan.spans]
        for span in plan.spans:
            same_kind(run, self._bundle(span.stage), span.stage)
        self.skipped: dict[str, tuple[str, ...]] = {}  # LoRA -> layers the model does not have

    @property
    def bundles(self) -> list[Bundle]:
        """The models of stages that do not use the run's."""
        return list(self._bundles.values())

    def check_loras(self) -> None:
        """Raise what putting the LoRAs on would raise, from the headers of all files."""
        spans = zip(self._plan.spans, self._parts, strict=True)
        taken = ((use.file, part) for span, part in spans for use in self.loras(span))
        empty = cache(Component.empty)
        for file, part in dict.fromkeys(taken):
            check_lora(lora_file(file), empty(part))

    def use(self, span: StageSteps) -> Any:
        """The transformer for ``span`` with its LoRAs on; the next stage's files are read ahead."""
        index = self._plan.spans.index(span)
        part = self._parts[index]
        for other in self._parts:
            if other is not part:
                other.unload()
        model = part.model
        set_loras(model, [(self._lora(use, part), use.weight) for use in self.loras(span)])
        coming = self._parts[index + 1 : index + 2]
        if coming and coming[0] is not part and not self._run.held.holds(coming[0].key):
            _read_ahead(coming[0].files)
        return model

    def fit(self, memory: MemoryPlan) -> None:
        """Load the run's model and those of all stages as ``memory`` says from now on."""
        for bundle in (self._run, *self._bundles.values()):
            bundle.fit(memory)

    def unload(self) -> None:
        """Let go of every transformer, also of those from other folders than the run's."""
        for part in self._parts:
            part.unload()
        self._read.clear()

    def loras(self, span: StageSteps) -> list[LoraUse]:
        """Those of the run and of the stage that are read for it."""
        return loras_for(self._loras, span.stage, self._expert(span))

    def _expert(self, span: StageSteps) -> str:
        boundary = self._bundle(span.stage).traits.boundary
        return expert_at(span.stage, boundary, self._plan.sigmas[span.start])

    def _bundle(self, stage: Stage) -> Bundle:
        if not stage.model and stage.dtype == "auto":
            return self._run
        path = stage.model or self._model.path
        dtype = self._model.dtype if stage.dtype == "auto" else stage.dtype
        if (path, dtype) not in self._bundles:
            self._bundles[path, dtype] = open_model(
                path, self._model.device, dtype, self._watch, held=self._run.held
            )
        return self._bundles[path, dtype]

    def _part(self, span: StageSteps) -> Component:
        experts = self._bundle(span.stage).experts
        return experts[-1 if self._expert(span) == "low" else 0].part

    def _lora(self, use: LoraUse, part: Component) -> Lora:
        key = (use.file, id(part.model))
        if key not in self._read:
            file = lora_file(use.file)
            beside = [path for path in (file, file.with_name(BESIDE)) if path.is_file()]
            state = ("lora", str(file), stamp(beside), part.key)
            self._read[key] = self._run.held.share(state, lambda: read_lora(file, part.model))
            if skipped := self._read[key].skipped:
                self.skipped[use.file] = skipped
        return self._read[key]


def same_kind(run: Bundle, other: Bundle, stage: Stage) -> None:
    """Raise WrongModel unless the stage's model takes what is made for the run's."""
    ours, its = run.parts["transformer"].config, other.parts["transformer"].config
    for name in KIND:
        if ours.get(name) != its.get(name):
            raise WrongModel(
                f"Stage {stage.name or other.name!r} uses a model of another kind: {name} is "
                f"{its.get(name)}, in the run's model it is {ours.get(name)}.",
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
