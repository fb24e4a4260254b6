# SPDX-License-Identifier: GPL-3.0-or-later
"""Something that goes on in the background, asked now and then how it is. stdlib only."""

from __future__ import annotations

import abc
import time

from ..core.errors import WanError


class Task(abc.ABC):
    """``error`` is what went wrong last; ``tick_s`` how long it may be left alone. While one that
    ``edits_file`` is ticked, the open file may change."""

    tick_s = 0.2
    edits_file = False
    error: WanError | None = None

    @property
    @abc.abstractmethod
    def running(self) -> bool:
        """Whether it is to be ticked any further. Never blocks."""

    def tick(self) -> bool:
        """Take what has arrived; whether there may be something new to show. Never blocks."""
        return True

    def wait(self) -> None:
        """Until it runs no more, for scripts: there no timer ticks."""
        while self.running:
            self.tick()
            time.sleep(0.02)

    def give_up(self, error: WanError) -> None:
        """After a bug in ``tick``: rather end than meet it on every tick."""
        self.error = error
        self.close()

    @abc.abstractmethod
    def close(self) -> None:
        """End what runs, at once."""
