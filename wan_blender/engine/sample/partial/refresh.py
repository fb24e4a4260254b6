# SPDX-License-Identifier: GPL-3.0-or-later
"""What a step computes: everything, some rows, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FULL = "full"  # all tokens; keys and values are kept
ROWS = "rows"  # tokens that matter, over keys and values of the last full pass
REUSE = "reuse"  # the answer of the last pass is given again
DENSE = "dense"  # the model's own call; nothing is kept
_GROWTH = 1.2  # a larger set of rows than this times the one at the last full pass asks for another


@dataclass(frozen=True)
class Rule:
    """``warm`` full passes at the start of a run, where the layout is decided, then evenly spread
    ones, ``every`` steps apart at most. After each pass over rows ``repeats`` steps compute
    nothing.

    ``ring`` tokens around what is generated are computed with it: the fewer full passes, the wider,
    since what is kept is most wrong right beside it. A pass whose canaries are further than
    ``stale`` from the last full pass asks for the next one.
    """

    warm: int
    every: int
    repeats: int
    ring: int
    stale: float


RULES = {
    "balanced": Rule(warm=2, every=4, repeats=0, ring=1, stale=0.4),
    "fast": Rule(warm=2, every=10, repeats=1, ring=2, stale=0.6),
}


class Refresh:
    """Decides step by step; the same answer however often a step is asked for.

    ``rows`` are how many rows each step would compute, ``forced`` the steps that need a full pass,
    ``dense`` those that keep nothing.
    """

    def __init__(
        self, rule: Rule, rows: Sequence[int], forced: frozenset[int], dense: frozenset[int]
    ) -> None:
        self._rule, self._rows = rule, rows
        self._forced = forced | {len(rows) - 2}  # the last steps show what they saw
        self._dense = dense
        self._decided, self._kind = -1, DENSE
        self._full: int | None = None
        self._stale = 0.0
        self._repeated = 0  # steps since rows were computed

    def kind(self, step: int) -> str:
        if step != self._decided:
            self._kind = self._decide(step)
            self._decided = step
            if self._kind == FULL:
                self._full, self._stale = step, 0.0
        return self._kind

    def note(self, staleness: float) -> None:
        """What the canaries of a pass over rows said."""
        self._stale = max(self._stale, staleness)

    def restart(self) -> None:
        """All that was kept is gone."""
        self._full, self._decided = None, -1

    def _decide(self, step: int) -> str:
        rule, last = self._rule, self._full
        if step in self._dense:
            self._full = None
            return DENSE
        if (
            last is None
            or step < rule.warm
            or step in self._forced
            or step >= self._due(last)
            or self._stale > rule.stale
            or self._rows[step] > _GROWTH * self._rows[last]
        ):
            return FULL
        if self._kind != FULL and self._repeated < rule.repeats and step < len(self._rows) - 1:
            self._repeated += 1
            return REUSE
        self._repeated = 0
        return ROWS

    def _due(self, last: int) -> int:
        """The next full pass after ``last``: up to the step that is forced, all gaps are alike."""
        end = min((step for step in self._forced if step > last), default=len(self._rows))
        gaps = -(-(end - last) // self._rule.every)
        return last - (last - end) // gaps
