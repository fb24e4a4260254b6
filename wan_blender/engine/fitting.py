# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping a run within memory: the plan is applied, and one measure more is taken whenever it
was not enough, going on from the last finished step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from ..core.answers.report import Switched
from ..core.errors import OutOfMemory
from ..core.settings import Speed
from ..schedule.stages import StageSteps
from .models.memory import (
    MemoryPlan,
    name_device,
    predict_phases,
    predict_ram,
    refuse,
    step_down,
)
from .models.parts import OnTensor
from .models.stage_models import StageModels
from .models.switches import switch_on
from .plan import Plan
from .sample.loop import State
from .sample.partial.passes import Passes

# How a lack of memory is told where it is no error of its own class, in lower case.
_TOLD = (
    "out of memory",  # CUDA, HIP, MPS
    "not enough memory",  # the processor's allocator on Windows
    "allocate memory",  # the same elsewhere
    "alloc_failed",  # CUBLAS_STATUS_, CUDNN_STATUS_, HIPBLAS_STATUS_
    "allocation_failed",  # CUDNN_STATUS_INTERNAL_ERROR_HOST_
    "outofmemory",  # hipErrorOutOfMemory
    "allocfailed",  # miopenStatusAllocFailed
)
_NO_ENGINE = "unable to find an engine"  # cuDNN, when none of its ways has room to work in

OnStep = Callable[[State], None]
T = TypeVar("T")


class Fitting:
    """``memory`` is the plan in force for ``models``, those of all stages, and for the ``passes``
    over them; ``measures`` counts the steps down that were needed."""

    def __init__(self, plan: Plan, watch: OnTensor) -> None:
        self._plan = plan
        self.models = StageModels(plan.bundle, plan.job.model, plan.job.loras, plan.stages, watch)
        self._held, self._held_device = plan.bundle.held, plan.bundle.device
        self.memory: MemoryPlan = plan.memory
        self.measures = 0
        self.switched: Switched | None = None  # of the last stage; None where nothing was asked for
        self.passes = Passes(plan.passes)
        self.models.fit(self.memory)

    def run(self, phase: str, work: Callable[[], T]) -> T:
        """``work()``, begun again with one measure more for as long as it runs out of memory;
        ``phase`` is one of memory.predict_phases. Raises OutOfMemory when no measure is left."""
        while True:
            self._announce(phase)
            try:
                return work()
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = error.with_traceback(None)  # whose frames would hold the tensors
            self._step_down(phase, reason)

    def use(self, span: StageSteps) -> Any:
        """The transformer for ``span``; what was kept of another, or of a call that did not fit,
        is let go first."""
        self.passes.begin(self.memory.keeps_slab)
        model, wanted = self.models.use(span), self._plan.job.speed
        if wanted != Speed():
            streamed = self.memory.resident_blocks >= 0
            self.switched = switch_on(model, wanted, self._held_device, streamed)
        return model

    def denoise(
        self, advance: Callable[[State | None, OnStep], State], state: State | None
    ) -> State:
        """``advance(state, on_step)`` to its end; begun again from the last finished step."""
        latest = state

        def keep(reached: State) -> None:
            nonlocal latest
            latest = reached

        return self.run("denoising", lambda: advance(latest, keep))

    def _announce(self, phase: str) -> None:
        """What parts of earlier jobs have to leave free, once the phase takes one of its own."""
        taken = predict_phases(self.memory, self._plan.sizes)[phase]
        in_ram = predict_ram(self.memory, self._plan.sizes)[phase]
        device = name_device(self._held_device)
        self._held.needed_gb = {"cpu": in_ram} | {device: taken}

    def _step_down(self, phase: str, reason: Exception) -> None:
        plan = self._plan
        if self._held.let_go():
            return
        lower = step_down(self.memory, plan.sizes, plan.machine, phase)
        if lower is None:
            raise refuse(self.memory) from reason
        self.memory = lower
        self.measures += 1
        self.models.fit(lower)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA's own error, and what allocators and libraries say in a plain RuntimeError."""
    words = str(error).lower()
    return (
        isinstance(error, (MemoryError, torch.OutOfMemoryError, OutOfMemory))
        or any(told in words for told in _TOLD)
        or (_NO_ENGINE in words and torch.cuda.is_available())
    )
