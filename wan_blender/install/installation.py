# SPDX-License-Identifier: GPL-3.0-or-later
"""Installing the engine on a thread, and what the preferences show of it. stdlib only."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable
from pathlib import Path

from ..core.errors import Cancelled, UserError, WanError
from ..process.task import Task
from . import environment, offline
from .recipe import Recipe

CLOSE_S = 5.0


class Installation(Task):
    """One run of the installer. ``says`` is its last line, ``error`` what ended it, ``outcome`` how
    else it ended where more than the engine tells it. One that is not ``stoppable`` ends soon."""

    def __init__(
        self,
        work: Callable[[Callable[[str], None], threading.Event], object],
        stoppable: bool = True,
    ) -> None:
        self.says, self.outcome, self.stoppable = "Starting", "", stoppable
        self._work = work
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine installer", daemon=True)
        self._thread.start()

    tick_s = 0.25

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def cancel(self) -> None:
        self._cancelled.set()

    def wait(self) -> None:
        self._thread.join()

    def close(self) -> None:
        """End a running installation; the environment in use stays as it was."""
        if self.running and self.stoppable:
            self.cancel()
            # A server that is silent may be waited for longer; the thread is a daemon.
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            made = self._work(self._tell, self._cancelled)
            self.outcome = made if isinstance(made, str) else ""
        except Cancelled:
            self.outcome = "Stopped; packages that have arrived are kept"
        except WanError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001  a thread's error has nowhere else to go
            self.error = UserError(
                f"The installer failed: {type(error).__name__}: {error}.", "Try again."
            )

    def _tell(self, line: str) -> None:
        self.says = line.strip() or self.says


def start(home: Path, backend: str, unpinned: bool, folder: Path | None) -> Installation:
    """Install, repair or upgrade the engine under ``home``; with ``folder`` from there alone."""
    recipe = Recipe(backend=backend, unpinned=unpinned, offline=folder)
    return Installation(lambda tell, cancelled: environment.install(home, recipe, tell, cancelled))


def make_bundle(inside: Path, backend: str, unpinned: bool) -> Installation:
    """Gather what an installation without a network needs, in a folder of its own."""
    recipe = Recipe(backend=backend, unpinned=unpinned)
    folder = inside / f"{offline.NAME}{platform.system()}_{platform.machine()}".lower()
    return Installation(lambda tell, cancelled: offline.bundle(folder, recipe, tell, cancelled))


def roll_back(home: Path) -> Installation:
    """Use the engine before this one again, if it works."""

    def work(tell: Callable[[str], None], _: threading.Event) -> None:
        tell("Checking the earlier engine")
        environment.rollback(home)

    return Installation(work, stoppable=False)


def remove(home: Path, ended: Callable[[], None]) -> Installation:
    """Remove the engine and all that its installer has fetched, tens of thousands of files, when
    ``ended`` has waited for the end of its process."""

    def work(tell: Callable[[str], None], _: threading.Event) -> None:
        tell("Removing the engine")
        ended()
        environment.uninstall(home)

    return Installation(work, stoppable=False)
