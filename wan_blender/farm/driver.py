# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives the jobs of a batch to engines until none is left. stdlib only.

It keeps nothing that is not in the job folders: it may be killed and started again, and whatever is
unfinished then goes on. Jobs are skipped inside the claim where they are done, so two engines never
do the same one, also while engines of a driver that died still run.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from ..core import job as jobs
from ..core.errors import (
    BadRequest,
    Cancelled,
    EngineMissing,
    JobBusy,
    UserError,
    WanError,
    from_dict,
    from_os_error,
)
from ..core.files import has_room
from ..core.lock import LOCK, hold, is_claimed
from ..core.result import RESULT, find_result, read_report
from .board import Board, EngineLine
from .engines import Engine, Event
from .exports import check_frames, read_note
from .order import Failures, Queue, Verdict, Warmth, Work
from .status import list_jobs
from .times import Times, guess_cost, name_model

TICK_S = 0.005
LATER_S = 5.0  # before a job that another process works on is tried again
MORE_MEMORY = 1.25  # than where it failed
WORST_FIRST = (Cancelled.exit_code, 1, 2, JobBusy.exit_code)

Tell = Callable[[str, str, dict[str, str]], None]  # folder, outcome, error


@dataclass
class _Seat:
    """An engine and what the driver knows of it."""

    engine: Engine
    ready: bool = False
    warmth: Warmth = Warmth()
    work: Work | None = None
    phase: str = ""
    fraction: float = 0.0

    @property
    def loads(self) -> bool:
        return self.work is not None and self.phase in ("", "loading")


def hold_batch(folder: Path) -> IO[str]:
    """Keep other drivers off a batch until what this returns is closed. Raises JobBusy while there
    is one, and BadRequest for a disk without locks, where two engines would do the same job."""
    try:
        file = hold(folder / LOCK)
    except BlockingIOError as error:
        raise JobBusy(f"{error.strerror} drives the batch in {folder}.", "Wait for it.") from error
    except OSError as error:
        raise from_os_error(error, "claiming the batch") from error
    if not is_claimed(folder):
        file.close()
        raise no_locks(folder)
    return file


def no_locks(folder: Path) -> BadRequest:
    return BadRequest(
        f"The disk of {folder} has no working locks: two engines could do the same job.",
        "Put the batch on a local disk, NFS 4 or SMB, mounted with locks; or use one engine: "
        "python -m wan_blender.engine run --batch.",
    )


def read_work(folder: Path) -> Work:
    """The job in ``folder`` as order.py takes it. Raises InvalidJob, also for frames that are not
    as they were exported."""
    job = jobs.read(folder)
    check_frames(folder)
    note = read_note(folder)
    shot, priority = (note.export, note.priority) if note else (folder.name, 0)
    return Work(str(folder), name_model(job), shot, guess_cost(job), priority)


class Driver:
    """Runs the jobs in ``folder`` on ``engines``. ``tell`` hears what became of each job.

    ``more`` is asked now and then for engines that have come since; ``patience_s`` is how long to
    wait for one where there is none; ``needs_gb`` has, by the names of their folders, the memory
    that jobs want of a card.
    """

    def __init__(
        self,
        folder: Path,
        engines: Sequence[Engine],
        tell: Tell,
        more: Callable[[], Sequence[Engine]] = list,
        patience_s: float = 0.0,
        needs_gb: Mapping[str, float] | None = None,
    ) -> None:
        self.folder, self.tell, self.patience_s = folder, tell, patience_s
        self.seats = [_Seat(engine) for engine in engines]
        self.queue, self.failures = Queue(share=True), Failures()
        self.codes: set[int] = set()
        self.counts: Counter[str] = Counter()
        self.error: WanError | None = None  # why no more jobs are given
        self._more, self._needs_gb = more, needs_gb or {}
        self._later: list[tuple[float, Work]] = []
        self._alone_since: float | None = None
        self._gone: WanError | None = None  # why the last engine that went has gone
        self._times = Times()

    def run(self, stop: threading.Event) -> int:
        """Until every job has ended or ``stop`` is set; the exit code of all. Raises BadRequest
        for a folder without jobs, EngineMissing where no engine comes, what filled the disk."""
        self._plan()
        while self._left and not stop.is_set() and not self.error:
            for seat in list(self.seats):
                for event in seat.engine.poll():
                    self._hear(seat, event)
            self.seats += [_Seat(engine) for engine in self._more()]
            self._give()
            self._look_for_an_engine()
            stop.wait(TICK_S)
        if stop.is_set():
            self._end()
            self.codes.add(Cancelled.exit_code)
        if self.error:
            raise self.error
        return next((code for code in WORST_FIRST if code in self.codes), 0)

    @property
    def running(self) -> list[_Seat]:
        return [seat for seat in self.seats if seat.work]

    @property
    def left_s(self) -> float:
        """Seconds that the rest will take on the engines there are; -1 while nothing is known."""
        rate, seats = self._times.rate(), list(self.seats)
        if rate is None or not seats:
            return -1.0
        begun = [(seat.work, seat.fraction) for seat in seats]
        cost = sum((1 - fraction) * work.cost_s for work, fraction in begun if work)
        return round(rate * (cost + self.queue.cost_s) / len(seats), 1)

    @property
    def _left(self) -> bool:
        return bool(len(self.queue) or self._later or self.running)

    def _plan(self) -> None:
        for path in list_jobs(self.folder):
            if find_result(path):
                self._say(str(path), "skipped")
                continue
            try:
                jobs.clear_cancel(path)  # of a run before
                work = read_work(path)
                self.queue.add(replace(work, gpu_gb=self._needs_gb.get(path.name, 0.0)))
            except WanError as error:
                self._say(str(path), "failed", error)
            except OSError as error:
                self._say(str(path), "failed", from_os_error(error, "reading the job"))

    def _give(self) -> None:
        """A job for each engine that has none."""
        now = time.monotonic()
        for at, work in [late for late in self._later if late[0] <= now]:
            self._later.remove((at, work))
            self.queue.add(work)
        held = Counter(seat.warmth.model for seat in self.seats if seat.warmth.model)
        for seat in self.seats:
            while seat.ready and not seat.work and (taken := self._take(seat, held)):
                if jobs.cancel_requested(Path(taken.folder)):
                    self._say(taken.folder, "cancelled", Cancelled())
                    continue
                if seat.warmth.model:
                    held[seat.warmth.model] -= 1
                held[taken.model] += 1
                seat.work, seat.phase, seat.fraction = taken, "", 0.0
                seat.warmth = replace(seat.warmth, model=taken.model, shot=taken.shot)
                seat.engine.give(taken.folder)

    def _take(self, seat: _Seat, held: Counter[str]) -> Work | None:
        work = self.queue.take(seat.warmth, held, sum(other.loads for other in self.seats))
        if work is None and len(self.queue) and not self.running:
            work = self.queue.take(seat.warmth)  # worth a load after all: nobody else does it
            if work is None and self._is_largest(seat):
                work = self.queue.take(replace(seat.warmth, gpu_gb=0.0))
        return work

    def _is_largest(self, seat: _Seat) -> bool:
        """Whether no engine that is there, or starts, has more memory: then the job may as well be
        tried here."""
        most_gb = max(other.engine.gpu_gb for other in self.seats)
        return all(other.ready for other in self.seats) and seat.engine.gpu_gb >= most_gb

    def _hear(self, seat: _Seat, event: Event) -> None:
        if event.kind == "ready":
            seat.ready = True
            seat.warmth = Warmth(gpu_gb=seat.engine.gpu_gb)
        elif event.kind == "progress":
            seat.phase = event.phase.partition(" ")[0]
            seat.fraction = event.fraction
        elif event.kind == "done":
            work, seat.work = seat.work, None
            self._say(event.folder, "done")
            if work:
                self._learn(work)
        elif event.kind == "failed":
            self._failed(seat, event)
        elif event.kind == "gone":
            if seat.work:
                self._failed(seat, replace(event, folder=seat.work.folder))
            self.seats.remove(seat)
            self._gone = _error_of(event)

    def _failed(self, seat: _Seat, event: Event) -> None:
        work, seat.work = seat.work, None
        code = event.error.get("code", "")
        if code in ("EngineDied", "EngineMissing"):
            seat.ready, seat.warmth = False, Warmth()
        if work is None:
            return
        error = _error_of(event)
        if code == "DiskFull" and has_room(Path(work.folder)):
            self._say(work.folder, "failed", error)  # its folder alone cannot be written
            return
        verdict = self.failures.judge(work.folder, code)
        if verdict is Verdict.LATER:
            self._later.append((time.monotonic() + LATER_S, work))
        elif verdict is Verdict.STOP and code == "DiskFull":
            self._say(work.folder, "failed", error)
            self._end()
            self.error = error
        elif verdict is Verdict.LARGER and self._is_larger(seat):
            self.queue.add(replace(work, gpu_gb=seat.engine.gpu_gb * MORE_MEMORY))
        elif verdict in (Verdict.AGAIN, Verdict.STOP):
            self.queue.add(work)
        else:
            self._say(work.folder, "cancelled" if isinstance(error, Cancelled) else "failed", error)

    def _is_larger(self, seat: _Seat) -> bool:
        """Whether another engine has the memory that a job was short of on ``seat``, or may have
        it: while it starts nobody knows."""
        wanted = seat.engine.gpu_gb * MORE_MEMORY
        return bool(wanted) and any(
            other.engine.gpu_gb >= wanted or not other.ready for other in self.seats
        )

    def _look_for_an_engine(self) -> None:
        if any(seat.engine.offered for seat in self.seats):
            self._alone_since = None
            return
        now = time.monotonic()
        self._alone_since = now if self._alone_since is None else self._alone_since
        if now - self._alone_since >= self.patience_s:
            self.error = self._gone or EngineMissing(
                f"No node offers an engine after {self.patience_s:.0f} s.",
                "Start engines or join nodes to the cluster, then run the same command again.",
            )

    def _learn(self, work: Work) -> None:
        """How a load compares with a run, from what a job took."""
        with contextlib.suppress(WanError):
            self._times.learn(work.model, work.cost_s, read_report(Path(work.folder) / RESULT))
        load_s, rate = self._times.load_s(), self._times.rate()
        if load_s and rate:
            self.queue.load_s = load_s / rate

    def _end(self) -> None:
        for seat in self.seats:
            if seat.work:
                seat.engine.cancel(seat.work.folder)

    def _say(self, folder: str, outcome: str, error: WanError | None = None) -> None:
        self.counts[outcome] += 1
        self.codes.add(error.exit_code if error else 0)
        self.tell(folder, outcome, error.to_dict() if error else {})


def _error_of(event: Event) -> WanError:
    return from_dict(event.error) if event.error else UserError("The engine ended.")


def read_board(driver: Driver) -> Board:
    """How far each engine is, and how long the rest will take. May be called on any thread."""
    seats = list(driver.seats)
    lines = []
    for seat in seats:
        if work := seat.work:
            job = Path(work.folder).name
            line = EngineLine(seat.engine.name, seat.phase or "starting", job, seat.fraction)
        else:
            line = EngineLine(seat.engine.name, "idle" if seat.ready else "starting")
        lines.append(line)
    return Board(tuple(lines), driver.left_s)
