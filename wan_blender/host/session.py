# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs this Blender runs, the engine it keeps warm, and the pump between them.

    exporting -> queued -> running -> done
                                   -> failed | cancelled

``submit`` returns at once; pump.py ticks the session (``run_to_end`` does in background mode,
where timers do not run). Jobs hold names and paths, never bpy pointers: undo, another file and
deleted scenes cannot hurt them. All of it lives in Python, so no run is saved in a .blend.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import bpy

from ..core import job, protocol
from ..core.console import interrupts
from ..core.errors import Cancelled, EngineMissing, InvalidJob, UserError, WanError, from_dict
from ..core.lock import Claim
from ..core.settings import Job, Shot
from ..process.engine import EngineProcess, EngineState
from ..process.task import Task
from ..timeline.background import BackgroundExport
from ..timeline.export import export
from ..timeline.place import Placement
from ..timeline.shot import ShotRequest
from . import pump
from .found import FoundJobs, open_ends
from .interface import in_a_window, in_the_middle_of, push_undo, redraw_sidebar
from .jobs import LocalJob, Phase, begin, phase_after, read_folder
from .placing import place_result, require_result

TICK_S = 0.1
IDLE_TICK_S = 1.0
BUDGET_S = 0.010  # of one tick
STOP_GRACE_S = 1.0
MOVING = ("TRANSFORM_OT", "SEQUENCER_OT")  # the user moves something; a new strip would disturb


class Session(Task):
    """``find_python`` gives the engine's Python or raises EngineMissing, ``cache_gb`` what engines
    may keep on the disk. ``error`` is what went wrong last, until it is dismissed."""

    edits_file = True  # results are placed

    def __init__(
        self, log: Path, find_python: Callable[[], Path], cache_gb: Callable[[], float]
    ) -> None:
        self.log, self._cache_gb = log, cache_gb
        self.jobs: list[LocalJob] = []
        self.engine: EngineProcess | None = None
        self._looked: set[str] = set()  # files for which earlier jobs were looked for
        self._missing = False
        self._find_python = find_python

    # -- what the user asks for

    def submit(
        self,
        request: ShotRequest,
        settings: Job,
        folder: Path,
        placement: Placement,
    ) -> LocalJob:
        """Queue a shot. With a window, a background Blender exports it and this returns at once;
        without one, ``run_to_end`` exports. Raises WanError, and then nothing is queued."""
        self.start_engine()  # it warms up while the shot is exported
        exporter = None if bpy.app.background else BackgroundExport()
        local = begin(request, settings, folder, placement, exporter)
        if known := self.find(folder):  # the folder is made once more
            self.jobs.remove(known)
        self._add(local)
        return local

    def export(
        self,
        request: ShotRequest,
        settings: Job,
        folder: Path,
        placement: Placement,
        watch: Callable[[LocalJob], None],
    ) -> None:
        """Make the job folder of a shot in this thread, and run nothing. Ctrl-C cancels. Raises
        what stopped it, and then no folder stays."""
        local = begin(request, settings, folder, placement)
        self.jobs.append(local)
        with interrupts() as interrupted:
            self._export_here(local, watch, interrupted.is_set)
        if local.error:
            raise local.error
        self.jobs.remove(local)

    def run_folder(self, folder: Path) -> LocalJob:
        """Queue a job folder as it is: one that failed, was cancelled or interrupted."""
        known = self.find(folder)
        if known and known.active:
            return known
        local = read_folder(folder)
        if local.phase is Phase.DONE:
            raise InvalidJob(f"{folder} is done already.", "Place its result, or generate again.")
        self.start_engine()
        with Claim(folder):
            job.clear_cancel(folder)
        if known:
            self.jobs.remove(known)
        if local.foreign:  # asked about once
            local.foreign = False
            local.write_origin()
        local.phase, local.error = Phase.QUEUED, None
        self._add(local)
        return local

    def _add(self, local: LocalJob) -> None:
        local.wants_placing = True
        self.jobs.append(local)
        self.error = None
        self._changed()

    def cancel(self, local: LocalJob) -> None:
        """Stop a job within one step; one that has not begun stops at once."""
        if local.phase in (Phase.EXPORTING, Phase.QUEUED):
            self._end(local, Phase.CANCELLED, Cancelled())
        elif local.phase is Phase.RUNNING and not local.cancelling:
            local.cancelling = True
            with contextlib.suppress(OSError):
                job.request_cancel(local.folder)
            self.engine.send(protocol.Cancel(str(local.folder)))
            self._changed()

    def dismiss(self, local: LocalJob) -> None:
        """Take an ended job off the list, now and after a restart. Its folder stays."""
        with contextlib.suppress(OSError):
            job.append_state(local.folder, "dismissed")
        self.jobs.remove(local)
        self._changed()

    def find(self, folder: Path) -> LocalJob | None:
        return next((local for local in self.jobs if local.folder == folder), None)

    def look_first(self, roots: Callable[[], list[Path]]) -> None:
        """List what earlier sessions left in ``roots`` unplaced or unfinished, once for each file
        that is opened. A result that was placed is left to ``find_results``: its strip may have
        been deleted on purpose."""
        if bpy.data.filepath not in self._looked:
            self._looked.add(bpy.data.filepath)
            self.find_results(roots(), lost=False)

    def find_results(self, roots: list[Path], lost: bool = True) -> FoundJobs:
        """Look for what earlier sessions left in ``roots`` unplaced or unfinished, with ``lost``
        also for what was placed and is gone, and list it when it was read."""

        def take(found: list[LocalJob]) -> int:
            new = open_ends(found, self.jobs, lost)
            self.jobs = new + self.jobs
            self._changed()
            return len(new)

        looking = FoundJobs(roots, take)
        pump.follow(looking)
        return looking

    # -- the engine

    @property
    def engine_state(self) -> EngineState:
        if self._missing:
            return EngineState.MISSING
        return self.engine.state if self.engine else EngineState.STOPPED

    def start_engine(self) -> None:
        """Start the engine unless it runs; one that idles is replaced by one that was installed
        after it. Raises EngineMissing, DiskFull."""
        if self.engine_state in (EngineState.STARTING, EngineState.BUSY):
            return
        self._missing = False
        try:
            python = self._find_python()
            if self.engine_state is EngineState.READY:
                if self.engine.python == python:
                    return
                self._let_go()
            self.engine = EngineProcess(python, self.log, learned=self.log.with_name("pauses.json"))
            self.engine.start()
        except EngineMissing:
            self._missing = True
            raise
        self._changed()

    def stop_engine(self) -> Callable[[], None]:
        """End the engine and all it had to do; the jobs can be run again. The answer waits until
        its process has ended."""
        for local in self.active:
            if local.phase is Phase.EXPORTING:
                self.cancel(local)
            else:
                stopped = UserError("The engine was stopped.", "Run the job again.")
                self._end(local, Phase.FAILED, stopped)
        ended = self._let_go()
        self._changed()
        return ended

    def _let_go(self) -> Callable[[], None]:
        """End the engine's process; the answer waits until it has."""
        if not self.engine:
            return lambda: None
        # A process with much memory takes its time to die; few have to wait for it.
        ending = threading.Thread(target=self.engine.stop, args=(STOP_GRACE_S,))
        ending.start()
        self.engine = None
        return ending.join

    # -- what goes on

    @property
    def active(self) -> list[LocalJob]:
        return [local for local in self.jobs if local.active]

    @property
    def running(self) -> bool:
        """Whether there is anything to hear: of a job, or of an engine that idles."""
        return bool(self.active or (self.engine and self.engine.alive))

    @property
    def tick_s(self) -> float:
        return TICK_S if self.active else IDLE_TICK_S

    def tick(self) -> bool:
        """Move everything on, for BUDGET_S seconds at most; what changes is drawn here."""
        deadline = time.monotonic() + BUDGET_S
        for local in self._in(Phase.EXPORTING):
            if local.exporter:
                self._poll_export(local)
        before = self.engine_state
        while self.engine and time.monotonic() < deadline:
            message = self.engine.poll()
            if message is None:
                break
            self._hear(message)
        if self.engine_state is not before:
            self._changed()
            if self.engine_state in (EngineState.FAILED, EngineState.MISSING):
                self._engine_failed()
        self._run_next()
        for local in self._in(Phase.DONE):
            if local.wants_placing and not in_the_middle_of(*MOVING):
                local.wants_placing = False
                self.place(local)
        return False

    def run_to_end(
        self, local: LocalJob, watch: Callable[[LocalJob], None] = lambda _: None
    ) -> None:
        """Run ``local`` to its end in this thread. Ctrl-C cancels. Raises what stopped it."""
        with interrupts() as interrupted:
            if local.request:
                self._export_here(local, watch, interrupted.is_set)
            while local.active:
                if interrupted.is_set():
                    self.cancel(local)
                self.tick()
                watch(local)
                time.sleep(0.02)
        if local.error:
            raise local.error

    def place(self, local: LocalJob) -> None:
        """Place a result where it came from, as one undo step. If that place is gone it stays
        on the list, for the user to place."""
        try:
            with in_a_window():
                place_result(local, require_result(local.folder))
        except WanError as error:
            local.error = self.error = error
        else:
            push_undo("Place Result")
        self._changed()

    def give_up(self, error: WanError) -> None:
        """Fail all that runs, after a bug of ours: rather that than the same bug every tick."""
        for local in self.active:
            self._end(local, Phase.FAILED, error)

    def close(self) -> None:
        """End everything that runs. Job folders stay and can be run again."""
        for local in self._in(Phase.EXPORTING):
            self.cancel(local)
        if self.engine:
            self.engine.stop(STOP_GRACE_S)

    # -- inside

    def _changed(self) -> None:
        """There is something new to draw, and maybe to do."""
        pump.follow(self)
        redraw_sidebar()

    def _in(self, phase: Phase) -> Iterator[LocalJob]:
        return (local for local in list(self.jobs) if local.phase is phase)

    def _poll_export(self, local: LocalJob) -> None:
        finished, fraction = local.exporter.poll()
        self._report_export(local, fraction)
        if finished:
            try:
                self._exported(local, local.exporter.result())
            except WanError as error:
                self._end(local, Phase.FAILED, error)

    def _export_here(
        self,
        local: LocalJob,
        watch: Callable[[LocalJob], None],
        should_cancel: Callable[[], bool],
    ) -> None:
        def on_frame(done: int, total: int) -> None:
            self._report_export(local, done / total)
            watch(local)

        try:
            self._exported(local, export(local.request, local.folder, on_frame, should_cancel))
        except WanError as error:
            self._end(local, phase_after(error), error)

    def _report_export(self, local: LocalJob, fraction: float) -> None:
        frames = local.request.frame_count
        step = round(fraction * frames)
        local.progress = protocol.Progress(str(local.folder), "export", step, frames, fraction)
        self._changed()

    def _exported(self, local: LocalJob, shot: Shot) -> None:
        local.settings = replace(local.settings, shot=shot)
        if local.exporter is None:  # else it has
            job.create(local.folder, local.settings)
        local.claim.close()
        local.request = local.exporter = local.claim = local.progress = None
        local.phase = Phase.QUEUED
        self._changed()

    def _run_next(self) -> None:
        waiting = next(self._in(Phase.QUEUED), None)
        if waiting is None or any(self._in(Phase.RUNNING)):
            return
        if self.engine_state in (EngineState.STOPPED, EngineState.FAILED, EngineState.MISSING):
            try:
                self.start_engine()
            except WanError as error:
                self._end(waiting, Phase.FAILED, error)
        elif self.engine_state is EngineState.READY:
            self.engine.send(protocol.LimitCache(self._cache_gb()))
            self.engine.send(protocol.Run(str(waiting.folder)))
            waiting.phase = Phase.RUNNING
            self._changed()

    def _hear(self, message: protocol.Message) -> None:
        local = self.find(Path(getattr(message, "job", "")))
        match message:
            case protocol.Progress() if local:
                local.progress = message
            case protocol.Done() if local:
                local.report = message.report
                self._end(local, Phase.DONE)
            case protocol.Failed() if local:
                error = from_dict(message.error)
                self._end(local, phase_after(error), error)
            case protocol.Heartbeat():
                return
        self._changed()

    def _engine_failed(self) -> None:
        """The running job fails with its engine; an engine that never started fails all."""
        self.error = self.engine.error
        phases = (Phase.RUNNING,) if self.engine.ready else (Phase.RUNNING, Phase.QUEUED)
        for phase in phases:
            for local in self._in(phase):
                self._end(local, phase_after(self.engine.error), self.engine.error)
                job.append_state(local.folder, local.phase.value, **self.engine.error.to_dict())

    def _end(self, local: LocalJob, phase: Phase, error: WanError | None = None) -> None:
        local.phase, local.error, local.cancelling = phase, error, False
        if phase is Phase.FAILED:
            self.error = error
        if local.request:  # an unfinished export is of no use to anybody
            local.discard_export()
            self.jobs.remove(local)
        elif phase is Phase.CANCELLED:
            self.jobs.remove(local)
        self._changed()
