# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that earlier sessions left, looked for on a thread: the folder may have come with a project,
hold thousands of frames, or lie on a slow disk.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ..core import job
from ..core.errors import WanError
from ..core.lock import is_claimed
from ..core.result import RESULT
from ..process.task import Task
from ..timeline.place import is_missing
from .jobs import LocalJob, read_folder

FOUND_LIMIT = 50  # in one folder, the newest
ENTRIES = 2000  # of a folder that are read


class FoundJobs(Task):
    """Looks through ``roots`` at once; ``take`` gets the jobs, oldest first, on the main thread and
    says how many of them were new, which then is ``count``."""

    def __init__(self, roots: Sequence[Path], take: Callable[[list[LocalJob]], int]) -> None:
        self._take = take
        self.count = 0
        self._found: list[LocalJob] = []
        self._taken = False
        self._thread = threading.Thread(target=self._look, args=(list(roots),), daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return not self._taken

    def tick(self) -> bool:
        if self._thread.is_alive() or self._taken:
            return False
        self._taken = True
        self.count = self._take(self._found)
        return True

    def close(self) -> None:
        self._taken = True

    def _look(self, roots: list[Path]) -> None:
        for root in roots:
            with contextlib.suppress(OSError):
                self._found += read_open_ends(root)


def open_ends(found: list[LocalJob], known: list[LocalJob], lost: bool) -> list[LocalJob]:
    """Those of ``found`` that are not ``known`` and on no timeline; with ``lost`` also what was
    placed and whose strip is gone from the open file."""
    folders = {local.folder for local in known}
    for local in found:
        if lost and is_missing(local.placement, local.folder / RESULT):
            local.placed = False
    return [local for local in found if not local.placed and local.folder not in folders]


def read_open_ends(root: Path) -> list[LocalJob]:
    """Results in ``root``, placed or not, and jobs that never ended, oldest first. What runs in
    another Blender is its own, what was dismissed or has failed is over. Reads files only."""
    found: list[LocalJob] = []
    folders = sorted(root.iterdir(), reverse=True)[:ENTRIES] if root.is_dir() else []
    for folder in folders:
        if len(found) == FOUND_LIMIT:
            break
        if not (folder / "job.json").is_file():
            continue
        events = job.read_events(folder)
        ended = events and events[-1] in ("failed", "cancelled")
        if "dismissed" not in events and not ended and not is_claimed(folder):
            with contextlib.suppress(WanError):
                found.insert(0, read_folder(folder))
    return found
