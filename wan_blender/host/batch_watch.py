# SPDX-License-Identifier: GPL-3.0-or-later
"""How a batch goes that runs elsewhere: on a farm, on another machine, in a terminal beside. Its
folder is read on a thread; nothing is written into it and nobody is asked over the network."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import WanError, from_os_error
from ..farm.board import Board, read_board
from ..farm.status import JobStatus, StatusReader, count
from ..process.task import Task

PAUSE_S = 2.0  # between two looks; on a slow disk as long as a look takes, at least
YIELD_EVERY = 10  # jobs; then the interface's thread may draw
PAGE = 10  # jobs that are listed at a time
URGENT = ("failed", "running", "cancelled", "waiting", "done")  # the order they are listed in


@dataclass(frozen=True)
class BatchView:
    """What was seen last. ``board`` is None while no driver is at work."""

    jobs: tuple[JobStatus, ...]
    counts: dict[str, int]
    board: Board | None

    @property
    def done(self) -> float:
        """0..1"""
        return self.counts.get("done", 0) / max(1, len(self.jobs))


class BatchWatch(Task):
    """Looks at the batch in ``folder`` until it is closed. ``page`` is the one that is listed."""

    tick_s = 0.5

    def __init__(self, folder: Path) -> None:
        self.folder, self.page = folder, 0
        self.view: BatchView | None = None
        self._shown: BatchView | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return not self._closed.is_set()

    @property
    def pages(self) -> int:
        return max(1, -(-len(self.view.jobs) // PAGE)) if self.view else 1

    @property
    def listed(self) -> tuple[JobStatus, ...]:
        """The jobs of the page."""
        first = min(self.page, self.pages - 1) * PAGE
        return self.view.jobs[first : first + PAGE] if self.view else ()

    def turn(self, pages: int) -> None:
        self.page = min(max(0, self.page + pages), self.pages - 1)

    def tick(self) -> bool:
        new, self._shown = self.view is not self._shown, self.view
        return new

    def close(self) -> None:
        self._closed.set()

    def _look(self) -> None:
        reader, read = StatusReader(self.folder), 0

        def give_way() -> None:
            nonlocal read
            read += 1
            if read % YIELD_EVERY == 0:
                self._closed.wait(0.001)

        while not self._closed.is_set():
            began = time.monotonic()
            try:
                statuses = reader.read(give_way)
                order = sorted(statuses, key=lambda status: URGENT.index(status.outcome))
                self.view = BatchView(tuple(order), count(statuses), read_board(self.folder))
                self.error = None
            except WanError as error:
                self.error = error
            except OSError as error:
                self.error = from_os_error(error, "reading the batch")
            self._closed.wait(max(PAUSE_S, time.monotonic() - began))
