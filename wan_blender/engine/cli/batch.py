# SPDX-License-Identifier: GPL-3.0-or-later
"""One process runs many jobs, and what it has loaded for one serves the next.

Each job is one line of JSON as it ends: {"job", "outcome", "exit_code", "seconds"} with "result"
where it is done and "error" where it is not. Outcomes: done, skipped (it had a result), busy,
failed, cancelled.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO, TypeVar

from ...core import job as jobs
from ...core.answers.report import Report
from ...core.errors import Cancelled, DiskFull, JobBusy, WanError
from ...core.result import RESULT

LOOK_AGAIN_S = 0.5  # at a job that another process works on
WORST_FIRST = (Cancelled.exit_code, 1, 2, JobBusy.exit_code)  # of exit codes that are not 0

T = TypeVar("T")


def wait_for(run: Callable[[], T], wait_s: float, stop: threading.Event) -> T:
    """What ``run`` returns, tried again for ``wait_s`` seconds while another process works on the
    job. Raises what it raises."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return run()
        except JobBusy:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or stop.wait(min(LOOK_AGAIN_S, left_s)):
                raise


@dataclass
class Batch:
    """Runs ``folders`` one after the other with ``run``, which takes a folder and whether the
    request to cancel in it is of an earlier run, and gives (report, made just now) or raises.

    A job's failure is a line of its own and never stops the others; a full disk and ``stop`` do.
    ``has_room`` says of a folder whose job met a full disk whether there is room for another.
    """

    folders: list[Path]
    run: Callable[[Path, bool], tuple[Report, bool]]
    has_room: Callable[[Path], bool]
    out: TextIO
    stop: threading.Event
    wait_s: float = 0.0
    codes: set[int] = field(default_factory=set)
    full: bool = False

    def __call__(self) -> int:
        """The exit code of all: 0, or the worst there was, in the order of WORST_FIRST."""
        stale = {folder for folder in self.folders if jobs.cancel_requested(folder)}
        busy = self._pass(dict.fromkeys(self.folders), stale)
        deadline = time.monotonic() + self.wait_s
        while busy and not self._ends and (left_s := deadline - time.monotonic()) > 0:
            self.stop.wait(min(LOOK_AGAIN_S, left_s))
            busy = self._pass(busy, stale)
        for folder, error in busy.items():
            self._say(folder, "busy", 0.0, error)
        if self.stop.is_set():
            self.codes.add(Cancelled.exit_code)
        return next((code for code in WORST_FIRST if code in self.codes), 0)

    @property
    def _ends(self) -> bool:
        return self.full or self.stop.is_set()

    def _pass(self, folders: Iterable[Path], stale: set[Path]) -> dict[Path, JobBusy]:
        """Run each once; those that another process works on."""
        busy = {}
        for folder in folders:
            if self._ends:
                break
            began, outcome, error = time.monotonic(), "failed", None
            try:
                _, new = self.run(folder, folder in stale)
                outcome = "done" if new else "skipped"
            except JobBusy as raised:
                busy[folder] = raised
                continue
            except Cancelled as raised:
                outcome, error = "cancelled", raised
            except WanError as raised:
                error = raised
                self.full = isinstance(raised, DiskFull) and not self.has_room(folder)
            self._say(folder, outcome, time.monotonic() - began, error)
        return busy

    def _say(
        self, folder: Path, outcome: str, seconds: float, error: WanError | None = None
    ) -> None:
        code = error.exit_code if error else 0
        self.codes.add(code)
        told = {"job": str(folder), "outcome": outcome, "exit_code": code}
        told["seconds"] = round(seconds, 3)
        told |= {"error": error.to_dict()} if error else {"result": str(folder / RESULT)}
        self.out.write(json.dumps(told, ensure_ascii=False) + "\n")
        self.out.flush()
