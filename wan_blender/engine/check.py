# SPDX-License-Identifier: GPL-3.0-or-later
"""Dry run: everything that can be known before a model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .models.held import Held
from .plan import make_plan
from .report import describe_plan


def check(folder: Path, held: Held | None = None) -> dict[str, Any]:
    """Sizes, mask coverage and schedule of the job in ``folder``; reads headers of the model's
    files but loads none. ``held`` has parts of earlier jobs, which a run would use or let go of.
    Raises the WanError that running it would raise."""
    return describe_plan(make_plan(folder, held=held))
