# SPDX-License-Identifier: GPL-3.0-or-later
"""The model calls of a run as its plan has them, behind the transformer's own signature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from statistics import mean
from typing import Any

import torch

from ....core.answers.report import Compute, Spread
from .clock import Clock
from .forward import can_split, forward, to_clip, token_shape
from .plan import PassPlan
from .refresh import DENSE, FULL, REUSE, ROWS
from .reuse import Reuse
from .slab import Slab, SlabAttentions

Tensor = torch.Tensor
NOTHING = "nothing"  # of a window in which nothing is free


@dataclass
class _Branch:
    """One guidance branch of a window, or both in one call: ``tokens`` (B, N, patch * channels) is
    what was last computed of each token, ``clip`` the same as it was answered."""

    slab: Slab | None = None
    rows: Tensor | None = None
    rotary: tuple[Tensor, Tensor] | None = None
    tokens: Tensor | None = None
    clip: Tensor | None = None


class Passes:
    """``call`` gives each step and window its model. What is kept belongs to one model with its
    LoRAs: ``begin`` drops it. Without a plan every call is the model's own."""

    def __init__(self, plan: PassPlan | None) -> None:
        self.plan = plan
        self._refresh = plan.refresh() if plan and plan.used != DENSE else None
        self._reuse = Reuse(plan.reuse, len(plan.rows)) if plan and plan.reuse else None
        self._attentions: SlabAttentions | None = None
        self._model: Any = None
        self._branches: dict[tuple[int, int], _Branch] = {}
        self._clock = Clock()
        self._passes: Counter[str] = Counter()
        self._staleness: list[float] = []
        self._why = ""

    def begin(self, may_keep: bool = True) -> None:
        """A stage begins, or goes on after it ran out of memory. Without ``may_keep`` there is no
        room for slabs, and the rest of the run computes all tokens."""
        self.drop()
        if self._refresh and not may_keep:
            self._refresh, self._why = None, "There is no memory left for what it keeps."
        if self._refresh:
            self._refresh.restart()

    def drop(self) -> None:
        """Let go of all that is kept."""
        self._branches.clear()
        self._model = self._attentions = None
        if self._reuse:
            self._reuse.restart()

    def call(self, model: Any, step: int, window: int = 0) -> Callable[..., Any]:
        """``model`` for the calls of ``step`` over ``window``: one for each guidance branch, or
        one for both."""
        may_reuse = self._reuse is not None and step not in self.plan.dense
        kind = self._refresh.kind(step) if self._refresh and can_split(model) else DENSE
        if kind == DENSE and not may_reuse:
            return model
        if model is not self._model:
            self._model, self._attentions = model, None
        branches = count()

        def run(return_dict: bool = False, **inputs: Any) -> tuple[Tensor]:
            return (self._run(kind, may_reuse, step, window, next(branches), inputs),)

        return run

    def describe(self) -> Compute:
        """What was computed, for the report. ``actual_ratio`` is the time of the calls over that of
        as many that compute all."""
        said = self.plan.describe()
        if self._why:
            said = replace(said, used=DENSE, why=self._why)
        if self._staleness:
            spread = Spread(round(mean(self._staleness), 4), round(max(self._staleness), 4))
            said = replace(said, staleness=spread)
        if self._passes:
            ratio = self._clock.ratio(FULL if self._passes[FULL] else DENSE)
            said = replace(said, passes=dict(self._passes), actual_ratio=ratio)
        return said

    def _run(
        self, kind: str, may_reuse: bool, step: int, window: int, number: int, inputs: dict
    ) -> Tensor:
        clip, size = inputs["hidden_states"], self.plan.orders[window].rows(step)
        if kind != DENSE and size == 0 and self.plan.prefix == 0:
            self._clock.add(NOTHING, 0.0)  # all that it could say is held to the source
            self._passes[NOTHING] += 1
            return clip.new_zeros(clip.shape[0], self._model.config.out_channels, *clip.shape[2:])
        branch = self._branches.setdefault((window, number), _Branch())
        if kind not in (DENSE, FULL) and branch.slab is None:
            kind = FULL
        if may_reuse and kind != FULL and self._reuse.repeats(window, step, clip):
            kind = REUSE
        with self._clock.time(kind, clip.device):
            if kind == DENSE:
                (branch.clip,) = self._model(**inputs, return_dict=False)
            elif kind != REUSE:
                self._compute(kind, branch, window, size, inputs)
        self._passes[kind] += 1
        if self._reuse and number == 0 and kind != REUSE:
            self._reuse.note(window, clip, branch.clip)
        if kind == ROWS and size:
            self._staleness.append(branch.slab.staleness())
            self._refresh.note(self._staleness[-1])
        return branch.clip

    def _compute(self, kind: str, branch: _Branch, window: int, size: int, inputs: dict) -> None:
        model, clip, order = self._model, inputs["hidden_states"], self.plan.orders[window]
        if branch.slab is None:
            branch.slab = Slab(order.tokens, order.canaries)
            branch.rows = torch.from_numpy(order.order).to(clip.device)
            cos, sin = (part.to(clip.device)[:, branch.rows] for part in model.rope(clip))
            branch.rotary = cos, sin
        if kind == FULL:
            size = order.tokens
        if size == 0:  # references alone are wanted, which only full passes renew
            return
        self._attentions = self._attentions or SlabAttentions(model)
        rows, rotary = branch.rows[:size], tuple(part[:, :size] for part in branch.rotary)
        out = forward(model, inputs, rows, rotary, self._attentions.over(branch.slab))
        if branch.tokens is None:
            branch.tokens = out.new_empty(out.shape[0], order.tokens, out.shape[2])
        branch.tokens[:, rows] = out
        patch = model.config.patch_size
        branch.clip = to_clip(branch.tokens, token_shape(model, clip), patch)
