# SPDX-License-Identifier: GPL-3.0-or-later
"""The passes of a whole run before it begins, and what they save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ....core.answers.report import Compute
from ....schedule.stages import StageSteps
from ..solvers import SOLVERS
from ..windows import Window
from .refresh import DENSE, FULL, REUSE, ROWS, RULES, Refresh
from .tokens import Order, plan_order, release_steps

WORTH = 1.3  # times faster than dense, or dense it is
_ROWS_COST, _REUSE_COST = 0.02, 0.01  # of a full pass, besides the rows: embedding, small kernels


@dataclass(frozen=True)
class PassPlan:
    """``used`` is the rule in force, "dense" where what was ``asked`` for does not pay, and
    ``why`` says so. ``predicted`` is the time of the model calls over that of dense ones."""

    asked: str
    used: str
    why: str
    orders: list[Order]
    prefix: int
    rows: list[int]  # of each step, in all windows
    forced: frozenset[int]
    dense: frozenset[int]
    predicted: float
    reuse: float = 0.0  # settings.Sampling.reuse

    @property
    def tokens(self) -> int:
        return sum(order.tokens for order in self.orders)

    @property
    def kept_tokens(self) -> int:
        """Tokens whose keys and values are kept, in all windows."""
        return 0 if self.used == DENSE else self.tokens

    @property
    def active_share(self) -> float:
        return sum(order.active for order in self.orders) / self.tokens

    def refresh(self) -> Refresh:
        return Refresh(RULES[self.used], self.rows, self.forced, self.dense)

    def describe(self) -> Compute:
        """For the report, and for the panel before a run."""
        return Compute(
            asked=self.asked,
            used=self.used,
            why=self.why,
            active_share=round(self.active_share, 4),
            rows_share=round(max(self.rows) / self.tokens, 4),
            predicted_ratio=round(self.predicted, 4),
        )


def plan_passes(
    compute: str,
    masks: Sequence[np.ndarray],
    patch: int,
    windows: Sequence[Window],
    spans: Sequence[StageSteps],
    prefix: int = 0,
    changes: frozenset[int] = frozenset(),
    reuse: float = 0.0,
) -> PassPlan:
    """The passes of a run whose law gives ``masks`` (t, h, w), one for each step, without
    references, of which ``prefix`` come before the clip.

    ``compute`` and ``reuse`` are settings.Sampling's; ``changes`` are the steps at which the model
    is shown something else than before.
    """
    release = release_steps(masks, patch)
    ring = 0 if compute == DENSE else RULES[compute].ring
    orders = [plan_order(release, _seen(window, prefix), prefix, ring) for window in windows]
    steps = range(len(masks))
    rows = [sum(order.rows(step) for order in orders) for step in steps]
    dense = frozenset(
        step for span in spans if SOLVERS[span.solver].noise_kept(1.0, 0.5) != 0.5
        for step in range(span.start, span.stop)
    )  # fmt: skip
    forced = changes | {span.start for span in spans}
    plan = PassPlan(compute, compute, "", orders, prefix, rows, forced, dense, 1.0, reuse)
    if compute == DENSE:
        return plan
    predicted = _ratio(plan)
    if predicted * WORTH <= 1:
        return replace(plan, predicted=predicted)
    why = f"It would save less than a quarter of the time ({1 - predicted:.0%})."
    if len(dense) == len(masks):
        why = "The solver adds fresh noise at every step, which makes what is kept stale."
    return replace(plan, used=DENSE, why=why)


def _seen(window: Window, prefix: int) -> list[int]:
    """Latents of the run that a window shows, as windows.predict_in_windows gathers them."""
    lead = [] if window.anchor is None else [prefix + window.anchor]
    return [*range(prefix), *lead, *range(prefix + window.start, prefix + window.stop)]


def _ratio(plan: PassPlan) -> float:
    refresh, total = plan.refresh(), 0.0
    for step, rows in enumerate(plan.rows):
        needed = [o for o in plan.orders if plan.prefix or o.rows(step)]
        costs = {
            DENSE: plan.tokens,
            FULL: sum(order.tokens for order in needed),
            ROWS: rows + _ROWS_COST * plan.tokens,
            REUSE: _REUSE_COST * plan.tokens,
        }
        total += costs[refresh.kind(step)]
    return total / (plan.tokens * len(plan.rows))
