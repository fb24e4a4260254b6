# SPDX-License-Identifier: GPL-3.0-or-later
"""The message loop: JSON lines in, JSON lines out, one job at a time.

Reading happens on a thread of its own, so that Cancel and the end of the host (EOF) are seen
while a step runs. This is one of the two places that catch every error.
"""

from __future__ import annotations

import os
import platform
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import psutil

from .. import __version__
from ..core import job as jobs
from ..core import protocol
from ..core.errors import Cancelled, EngineError, JobBusy, OutOfMemory, WanError, from_os_error
from ..core.files import append
from ..core.result import RESULT

if TYPE_CHECKING:
    from .models.held import Held

HEARTBEAT_S = 2.0
GRACE_S = 10.0  # for a running job to stop after the host is gone


class Worker:
    def __init__(self, source: TextIO, sink: TextIO) -> None:
        self._source, self._sink = source, sink
        self._inbox: queue.Queue[protocol.Message] = queue.Queue()
        self._lock = threading.Lock()
        self._cancelled: dict[str, threading.Event] = {}
        self._busy = ""
        self._host_gone = False
        self._held: Held | None = None  # once torch is there

    def serve(self) -> int:
        """Until Shutdown or EOF. Returns the exit code. Raises ImportError where packages are
        missing."""
        threading.Thread(target=self._listen, daemon=True).start()
        self._send(hello())
        threading.Thread(target=self._beat, daemon=True).start()
        self._send(self._get_ready())
        from .cache import set_limit

        while True:
            message = self._inbox.get()
            match message:
                case protocol.Run(job=job, unfinished=unfinished):
                    self._answer(job, partial(self._run, again=not unfinished))
                case protocol.Check(job=job):
                    self._answer(job, self._check)
                case protocol.LimitCache(gigabytes=gigabytes):
                    set_limit(gigabytes)
                case protocol.FreeMemory():
                    self._held.let_go()
                    self._send(protocol.MemoryFreed(resident_gb()))
                case protocol.Shutdown():
                    return 0

    def _get_ready(self) -> protocol.Message:
        """Import what every job needs, which takes seconds."""
        import torch

        from . import pipeline  # noqa: F401
        from .models.bundle import pick_device
        from .models.held import Held

        self._held = Held()
        device = pick_device("auto")
        card = torch.cuda.get_device_properties(device).total_memory if device == "cuda" else 0
        return protocol.Ready(torch.__version__, device, round(card / 1e9, 3))

    def _listen(self) -> None:
        for line in self._source:
            try:
                message = protocol.decode(line)
            except WanError as error:
                print(error, file=sys.stderr)
                continue
            if isinstance(message, protocol.Run):
                self._event(message.job).clear()
            if isinstance(message, protocol.Cancel):
                self._event(message.job).set()
            else:
                self._inbox.put(message)
        self._host_is_gone()

    def _host_is_gone(self) -> None:
        self._host_gone = True
        for event in list(self._cancelled.values()):
            event.set()
        self._inbox.put(protocol.Shutdown())
        timer = threading.Timer(GRACE_S, lambda: os._exit(0))
        timer.daemon = True
        timer.start()

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(HEARTBEAT_S):
            held = self._held
            held_gb = round(held.on_device_gb, 3) if held else 0.0
            self._send(protocol.Heartbeat(self._busy, resident_gb(), held_gb))

    def _event(self, job: str) -> threading.Event:
        return self._cancelled.setdefault(job, threading.Event())

    def _send(self, message: protocol.Message) -> None:
        with self._lock:
            try:
                self._sink.write(protocol.encode(message) + "\n")
                self._sink.flush()
            except OSError:  # the host is gone; EOF ends us
                pass

    def _answer(self, job: str, task: Callable[[Path], protocol.Message]) -> None:
        self._busy = job
        try:
            answer = task(Path(job))
        except Exception as error:  # noqa: BLE001 - every failure becomes a message
            described = describe(error)
            answer = protocol.Failed(job, described.to_dict())
            record_failure(Path(job), error, self._host_gone)
            print(f"{described.code}: {described}", file=sys.stderr, flush=True)
        finally:
            self._busy = ""
            self._cancelled.pop(job, None)
        self._send(answer)

    def _run(self, folder: Path, again: bool) -> protocol.Message:
        from .once import run_once
        from .watch import Watch

        watch = Watch(folder, self._send, self._event(str(folder)))
        report, _ = run_once(folder, watch, again, held=self._held)
        return protocol.Done(str(folder), str(folder / RESULT), report)

    def _check(self, folder: Path) -> protocol.Message:
        from .check import check

        return protocol.Checked(str(folder), check(folder, self._held))


def hello() -> protocol.Hello:
    return protocol.Hello(protocol.VERSION, __version__, platform.python_version(), os.getpid())


def resident_gb() -> float:
    """Of this process, in 2**30 bytes."""
    return round(psutil.Process().memory_info().rss / 2**30, 3)


def describe(error: BaseException) -> WanError:
    """Any exception as a WanError the host can show."""
    if isinstance(error, WanError):
        return error
    from .fitting import is_out_of_memory
    from .models.memory import REMEDY

    if is_out_of_memory(error):
        words = str(error).partition("\n")[0] or type(error).__name__
        return OutOfMemory(f"The run needs more memory than there is ({words}).", REMEDY)
    if isinstance(error, OSError):
        return from_os_error(error, "running the job")
    return EngineError(
        f"The engine failed: {type(error).__name__}: {error}.", "The log has the details."
    )


def record_failure(folder: Path, error: BaseException, host_gone: bool = False) -> None:
    """The event to the journal, the traceback of a bug to stderr and log.txt. A job that was
    stopped because its host is gone was not cancelled by anybody: it is found again."""
    described = describe(error)
    trace = traceback.format_exc() if isinstance(described, EngineError) else ""
    sys.stderr.write(trace)
    if isinstance(error, JobBusy) or not (folder / "job.json").is_file():
        return  # not ours to write in
    event = "cancelled" if isinstance(error, Cancelled) else "failed"
    if event == "cancelled" and host_gone:
        event = "interrupted"
    try:
        jobs.append_state(folder, event, **described.to_dict())
        if trace:
            with append(folder / jobs.LOG) as log:
                log.write(trace.encode("utf-8", "backslashreplace"))
    except OSError as problem:
        print(f"The journal cannot be written: {problem}", file=sys.stderr)
