# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping a run within memory: the plan is applied, and one measure more is taken whenever it
was not enough, going on from the last finished step."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..errors import OutOfMemory
from .models.memory import MemoryPlan, refuse, step_down
from .plan import Plan
from .sampling import State

OnStep = Callable[[State], None]


class Fitting:
    """``memory`` is the plan in force; ``measures`` counts the steps down that were needed."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.memory: MemoryPlan = plan.memory
        self.measures = 0
        plan.bundle.fit(self.memory)

    def run(self, advance: Callable[[State | None, OnStep], State], state: State | None) -> State:
        """``advance(state, on_step)`` to its end. Raises OutOfMemory when no measure is left."""
        latest = state

        def keep(reached: State) -> None:
            nonlocal latest
            latest = reached

        while True:
            try:
                return advance(latest, keep)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            self._step_down()

    def _step_down(self) -> None:
        plan = self._plan
        lower = step_down(self.memory, plan.sizes, plan.machine)
        if lower is None:
            raise refuse(self.memory)
        self.memory = lower
        self.measures += 1
        plan.bundle.fit(lower)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA's own error, and the allocators that raise a plain RuntimeError (CPU, MPS)."""
    words = str(error).lower()
    return (
        isinstance(error, (MemoryError, torch.OutOfMemoryError, OutOfMemory))
        or "out of memory" in words
        or "not enough memory" in words
    )
