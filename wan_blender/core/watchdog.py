# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells a stuck run from a slow one by how long it usually goes without progress. stdlib only.

A run that is alive may be stuck all the same: its heartbeat has a thread of its own. What counts is
how far it says it is. A pause is long when it is many times the longest of the same phase, in this
run or in earlier ones; before anything is known, a phase has time enough for a first compile, a
model from a slow disk, or a step of a large model on a processor.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from .files import read_json, write_json

UNKNOWN_S = 3600.0  # before anything is known of a phase
LEAST_S = 180.0
TIMES = 20.0  # the longest pause known, times this, is too long
ASLEEP_S = 30.0  # checked less often than this, the machine slept or was stopped: no pause


class Watchdog:
    """Watches one run after the other. ``learned`` is a file of this user's, for the longest pause
    of each phase; it may be absent."""

    def __init__(self, learned: Path | None = None) -> None:
        self._file = learned
        self._longest: dict[str, float] = _read(learned)
        self._place: tuple[str, int] | None = None
        self._moved = self._looked = time.monotonic()

    def begin(self) -> None:
        """A run begins."""
        self._place = None
        self._moved = self._looked = time.monotonic()

    def saw(self, phase: str, step: int) -> None:
        """The run says that it is here."""
        now = time.monotonic()
        if (phase, step) == self._place:
            return
        if self._place:
            before = self._place[0]
            self._longest[before] = max(self._longest.get(before, 0.0), now - self._moved)
        self._place, self._moved = (phase, step), now

    def end(self) -> None:
        """The run has ended well; what was learned of it is kept."""
        self.saw("", 0)
        if self._file and self._longest:
            with contextlib.suppress(OSError):
                write_json(self._file, {k: round(v, 2) for k, v in self._longest.items()})

    @property
    def limit_s(self) -> float:
        """How long the run may go without progress where it is."""
        longest = self._longest.get(self._place[0] if self._place else "")
        return UNKNOWN_S if longest is None else max(LEAST_S, TIMES * longest)

    def stuck(self) -> str:
        """Where the run is stuck and for how long, in words; "" while it is not. To be asked every
        few seconds."""
        now = time.monotonic()
        if now - self._looked > ASLEEP_S:
            self._moved += now - self._looked
        self._looked = now
        paused_s = now - self._moved
        if paused_s <= self.limit_s:
            return ""
        phase, step = self._place or ("starting the job", 0)
        at = f"{phase}, step {step}" if step else phase
        return f"It has made no progress for {paused_s:.0f} s ({at})"


def _read(file: Path | None) -> dict[str, float]:
    if file is None:
        return {}
    try:
        data = read_json(file)
    except (OSError, ValueError):
        return {}
    if not isinstance(data, dict):
        return {}
    return {k: float(v) for k, v in data.items() if isinstance(v, (int, float)) and 0 < v < 86400}
