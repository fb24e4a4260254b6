# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that looks at the model calls of a run, as one thing. None of it changes a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...core.answers.insight import AttentionBudget
from ..conditioning import Condition
from ..plan import Plan
from ..sample.loop import MaskedSource, Predict, State
from .attention import BudgetWatch
from .decisions import DecisionWatch

Tensor = torch.Tensor
OnStep = Callable[[State], None]


class Observers:
    """``decisions`` and ``attention`` are None where the job does not ask for them."""

    def __init__(
        self, decisions: DecisionWatch | None = None, attention: BudgetWatch | None = None
    ) -> None:
        self.decisions, self._attention = decisions, attention

    def around_model(self, predict: Predict, stage: int) -> Predict:
        """``predict`` of the stage with that number."""
        return self.decisions.watch(predict, stage) if self.decisions else predict

    def after_step(self, on_step: OnStep, predict: Predict) -> OnStep:
        """``on_step`` of a stage whose model is ``predict``."""
        return self.decisions.after(on_step, predict) if self.decisions else on_step

    def around_call(
        self, call: Callable[..., Any], model: Any, step: int, latents: Sequence[int]
    ) -> Callable[..., Any]:
        """``call``, a call of ``model`` over some of the run's latents."""
        return self._attention.over(call, model, step, latents) if self._attention else call

    @property
    def see_branches(self) -> Callable[[Sequence[int], Tensor, Tensor], None] | None:
        """What is shown the velocities of both guidance branches."""
        return self.decisions.see_branches if self.decisions else None

    def attention(self) -> AttentionBudget | None:
        return self._attention.report() if self._attention else None


def observe(plan: Plan, condition: Condition, source: MaskedSource) -> Observers:
    """Those that the job asks for; ``source`` has no references yet, of which ``condition`` puts
    some in front."""
    asked, sigmas, prefix = plan.job.insight, plan.stages.sigmas, condition.prefix
    decisions = attention = None
    if asked.decisions != "off":
        boundary, seed = plan.bundle.traits.boundary, plan.job.sampling.seed
        probes = asked.decisions == "probe"
        decisions = DecisionWatch(source, prefix, sigmas, boundary, seed, probes)
    if asked.attention:
        starts = [span.start for span in plan.stages.spans]
        attention = BudgetWatch(sigmas, starts, prefix)
    return Observers(decisions, attention)
