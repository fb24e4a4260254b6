# SPDX-License-Identifier: GPL-3.0-or-later
"""Dry run: everything that can be known before a model is loaded."""

from __future__ import annotations

from pathlib import Path

from ..core import job as jobs
from ..core.answers.report import Report
from ..model_info.traits import KINDS
from .borrow_run import describe_borrowing
from .conditioning import Scene
from .models.held import Held
from .plan import Plan, make_plan
from .report import describe_plan


def check(folder: Path, held: Held | None = None) -> Report:
    """Sizes, mask coverage and schedule of the job in ``folder``; reads headers of the model's
    files but loads none. ``held`` has parts of earlier jobs, which a run would use or let go of.
    Raises the WanError that running it would raise. Of a job that only borrows there is no model,
    schedule or memory plan to tell."""
    if jobs.read(folder).fill.borrow == "only":
        return describe_borrowing(folder)
    plan = make_plan(folder, held=held)
    _read_pictures(plan)
    return describe_plan(plan)


def _read_pictures(plan: Plan) -> None:
    """Read whole what a plan looks at the headers of: the pixels that the run will read, in its
    order."""
    scene = Scene(plan.shot, plan.region, plan.job.model_mask)
    for index in range(len(plan.shot)):
        plan.shot.plate(index)
    condition = KINDS[plan.bundle.traits.kind].condition
    if condition == "vace":
        scene.references()
    if condition in ("vace", "image"):
        for index in range(len(plan.shot)):
            scene.mask(index)
