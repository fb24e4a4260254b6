# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a job is, as lines on stderr, for runs without a window."""

from __future__ import annotations

import sys
import time

from .jobs import LocalJob

INTERVAL_S = 1.0  # between lines of one phase


class PrintedProgress:
    """Call it with the job, often: it prints when the phase changes, and then now and then."""

    def __init__(self) -> None:
        self.phase, self.printed_at = "", 0.0

    def __call__(self, local: LocalJob) -> None:
        progress = local.progress
        phase = progress.phase if progress else local.phase.value
        now = time.monotonic()
        if phase == self.phase and now - self.printed_at < INTERVAL_S:
            return
        if progress is None and phase == self.phase:
            return
        self.phase, self.printed_at = phase, now
        step = f" {progress.step}/{progress.steps}" if progress and progress.steps else ""
        share = f" ({progress.fraction:.0%})" if progress else ""
        print(f"wan_blender: {phase}{step}{share}", file=sys.stderr, flush=True)
