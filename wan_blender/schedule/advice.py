# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a run's schedule before it starts and say in words what practice advises against.

Every finding names its rule; docs/schedule_rules.md says where the rule comes from. A fix is a
set of assignments to settings, so that a button can apply it; only what cures is offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..core.answers.report import Finding
from ..core.errors import InvalidJob
from ..core.settings import Job
from ..model_info.traits import Traits
from . import rules
from .presets import Changes
from .run import ScheduledRun


@dataclass(frozen=True)
class Rule:
    """``says`` gives what is to be said of a run, "" for nothing; ``cures`` what could be changed
    about it, best first."""

    name: str
    says: Callable[[ScheduledRun], str]
    cures: Callable[[ScheduledRun], Iterator[Changes]]

    def find(self, run: ScheduledRun) -> Iterator[Finding]:
        if message := self.says(run):
            fixes = (fix for fix in self.cures(run) if self._is_cured(run, fix))
            yield Finding(self.name, message, next(fixes, {}))

    def _is_cured(self, run: ScheduledRun, fix: Changes) -> bool:
        """Without a new finding that weighs more, whose fix might undo this one."""
        try:
            after = run.after(fix)
            above = RULES[: RULES.index(self)]
            return not self.says(after) and not any(
                rule.says(after) and not rule.says(run) for rule in above
            )
        except InvalidJob:  # more steps than a table schedule has entries
            return False


def check_schedule(
    job: Job,
    traits: Traits,
    width: int,
    height: int,
    frames: int,
    files: Mapping[str, Sequence[str]] | None = None,
) -> list[Finding]:
    """Findings on ``job`` for a model with ``traits`` and a shot of ``frames`` that it sees at
    ``width`` x ``height`` (before they are padded), most important first. ``files`` are those of
    the model by part: {"transformer": [...], "transformer_2": [...]}."""
    seen = min(frames, job.windows.frames or traits.native_frames)
    run = ScheduledRun(
        job.sampling,
        job.stages,
        job.loras,
        job.model.path,
        files or {},
        traits,
        width,
        height,
        seen,
    )
    return [finding for rule in RULES for finding in rule.find(run)] if run.spans else []


RULES = (
    Rule("distilled-guidance", rules.guided_though_distilled, rules.unguided),
    Rule("distilled-steps", rules.slow_though_distilled, rules.fewer_steps),
    Rule("few-decisions", rules.few_decisions, rules.more_decisions),
    Rule("wasted-above", rules.wasted_above, rules.more_below),
    Rule("few-steps", rules.few_steps, rules.more_steps),
    Rule("shift", rules.odd_shift, rules.nearest_shift),
    Rule("shift-steps", rules.long_first_step, rules.shorter_first_step),
    Rule("size", rules.odd_size, rules.even_size),
    Rule("length", rules.too_long, rules.in_windows),
)
