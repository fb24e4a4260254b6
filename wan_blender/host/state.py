# SPDX-License-Identifier: GPL-3.0-or-later
"""What this Blender has going while the add-on is enabled. Nothing of it is saved in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..install.installation import Installation
from . import pump
from .batch_watch import BatchWatch
from .diagnosis import Diagnosis
from .estimate import Estimate
from .library import Library
from .mask_view import MaskView
from .session import Session
from .sketch import Sketch


class Host:
    """``home`` is the extension's own folder; ``find_python`` gives the engine's Python or raises
    EngineMissing; ``places`` the folders that models are looked for in, ``cache_gb`` what engines
    may keep on the disk. ``installation`` and ``diagnosis`` are the newest ones, running or ended;
    None before the first. ``batch`` is the one that is followed."""

    def __init__(
        self,
        home: Path,
        find_python: Callable[[], Path],
        places: Callable[[], list[Path]],
        cache_gb: Callable[[], float],
    ) -> None:
        self.session = Session(home / "engine.log", find_python, cache_gb)
        self.library = Library(home, find_python, places)
        self.mask_view = MaskView(self.library)
        self.estimate = Estimate(find_python, self.library, self.mask_view, self._held_gb)
        self.installation: Installation | None = None
        self.diagnosis: Diagnosis | None = None
        self.batch: BatchWatch | None = None
        self.sketch: Sketch | None = None  # while a tool draws one

    def follow_batch(self, folder: Path) -> None:
        """Look at the batch in ``folder``, instead of the one before."""
        self.leave_batch()
        self.batch = BatchWatch(folder)
        pump.follow(self.batch)

    def leave_batch(self) -> None:
        if self.batch:
            self.batch.close()
        self.batch = None

    def _held_gb(self) -> float:
        engine = self.session.engine
        return engine.held_gb if engine and engine.alive else 0.0

    def close(self) -> None:
        """End all that runs."""
        asked = self.installation, self.diagnosis, self.batch
        for task in (*asked, self.library, self.estimate, self.mask_view, self.session):
            if task:
                task.close()


_host: Host | None = None


def host() -> Host:
    """The one of this Blender, while the add-on is enabled."""
    return _host


def register(
    home: Path,
    find_python: Callable[[], Path],
    places: Callable[[], list[Path]],
    cache_gb: Callable[[], float],
) -> None:
    global _host
    _host = Host(home, find_python, places, cache_gb)
    pump.register()


def unregister() -> None:
    global _host
    _host.close()
    pump.unregister()
    _host = None
