# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine process as an object: find its Python, start it, talk to it, end it. stdlib only.

The child runs ``python -m wan_blender.engine serve``: its stdout carries messages (protocol.py),
its stderr goes to the log file. ``start`` and ``poll`` never block, so a user interface may call
them at any time. The child ends with its host: by Shutdown, by stdin EOF when the host was killed,
by ``kill`` when it is silent, stuck, or does not answer Cancel.
"""

from __future__ import annotations

import contextlib
import enum
import importlib.util
import json
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import IO

from ..core import protocol
from ..core.errors import (
    Cancelled,
    EngineDied,
    EngineMissing,
    ProtocolError,
    WanError,
    from_os_error,
)
from ..core.watchdog import ASLEEP_S, Watchdog
from .child import Child, Hear, could_not_start

START_TIMEOUT_S = 300.0  # a first import of torch from a cold disk takes minutes
SILENCE_TIMEOUT_S = 120.0  # heartbeats come every 2 s; loading a model may hold them up
CANCEL_TIMEOUT_S = 30.0  # a step of a large model may take as long; the run is lost either way
STOP_GRACE_S = 5.0
LOG_BYTES = 4 << 20
PYTHON_VARIABLE = "WAN_ENGINE_PYTHON"
REMEDY = (
    "Press Install Engine in the add-on's preferences, or choose there the Python of an "
    "environment that has torch and diffusers."
)

Inbox = queue.SimpleQueue[protocol.Message | WanError | None]


class EngineState(enum.Enum):
    STOPPED = "stopped"  # not started yet, or ended on request
    MISSING = "missing"  # no Python that can run it; ``error`` says why
    STARTING = "starting"  # runs, has not said Ready
    READY = "ready"
    BUSY = "busy"
    FAILED = "failed"  # ended by itself or did not answer; ``error`` says why


def find_python(preferred: str = "", installed: Path | None = None) -> Path:
    """The interpreter for the engine. Raises EngineMissing that says what to do.

    Looked for in this order: ``preferred``, the variable WAN_ENGINE_PYTHON, this interpreter
    when torch is installed beside it (bpy used as a module), ``installed``.
    """
    for chosen, origin in (
        (preferred, "the preferences"),
        (os.environ.get(PYTHON_VARIABLE, ""), f"the variable {PYTHON_VARIABLE}"),
    ):
        if chosen and not os.access(chosen, os.X_OK):
            raise EngineMissing(
                f"The engine's Python {chosen} (from {origin}) cannot be run.",
                "Choose the Python of an environment that has torch and diffusers.",
            )
        if chosen:
            return Path(chosen).absolute()  # a child starts in a folder of its own
    if importlib.util.find_spec("torch") is not None:
        return Path(sys.executable)
    if installed is not None:
        return installed
    raise EngineMissing("The engine is not installed.", REMEDY)


class EngineProcess:
    """One engine. ``state`` and ``error`` are up to date after each ``poll``. ``learned`` is the
    watchdog's file."""

    def __init__(
        self,
        python: Path,
        log: Path,
        module: str = "wan_blender.engine",
        learned: Path | None = None,
    ) -> None:
        self.python = python
        self.log = log
        self.module = module
        self.state = EngineState.STOPPED
        self.error: WanError | None = None
        self.hello: protocol.Hello | None = None
        self.ready: protocol.Ready | None = None
        self.memory_gb = self.held_gb = 0.0
        self._start: _Start | None = None
        self._watchdog = Watchdog(learned)
        self._heard = self._looked = 0.0  # monotonic seconds
        self._cancelled_at = 0.0

    @property
    def alive(self) -> bool:
        return self._start is not None and self._start.alive

    @property
    def pid(self) -> int:
        """0 where there is no process, or none yet."""
        child = self._start.child if self._start else None
        return child.pid if child else 0

    def start(self) -> None:
        """Start the child; returns at once, ``poll`` tells what became of it. Raises DiskFull."""
        log = _open_log(self.log)
        self.error, self.hello, self.ready, self._cancelled_at = None, None, None, 0.0
        self.memory_gb = self.held_gb = 0.0
        self._heard = self._looked = time.monotonic()
        # The threads get the objects of this start: a restart must not mix two children.
        self._start = _Start(self.python, self.module, log)
        self.state = EngineState.STARTING

    def send(self, message: protocol.Message) -> None:
        """Write one message. A child that is gone is noticed by the next ``poll``."""
        if self._start is None:
            return
        if isinstance(message, protocol.Run):
            self.state = EngineState.BUSY
            self._watchdog.begin()
        elif isinstance(message, protocol.Cancel) and not self._cancelled_at:
            self._cancelled_at = time.monotonic()
        self._start.write(protocol.encode(message))

    def poll(self) -> protocol.Message | None:
        """The next message, or None. Never blocks, never raises; see ``state`` and ``error``."""
        if self._start is None:
            return None
        try:
            message = self._start.inbox.get_nowait()
        except queue.Empty:
            self._watch()
            return None
        self._heard = time.monotonic()
        if message is None:
            self._ended()
        elif isinstance(message, WanError):
            self._fail(message)
        else:
            self._note(message)
            return message
        return None

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Ask the child to finish, wait ``grace_s`` seconds at most, then kill it."""
        if self._start is None:
            return
        self.send(protocol.Shutdown())
        child = self._start.wait()
        if child:
            child.hang_up()
            child.wait(grace_s)
        self.kill()
        self.state = EngineState.STOPPED

    def kill(self) -> None:
        """End the child and all it started, at once."""
        start, self._start = self._start, None
        if start:
            start.kill()

    def _note(self, message: protocol.Message) -> None:
        if isinstance(message, protocol.Hello):
            if message.protocol != protocol.VERSION:
                self._fail(
                    ProtocolError(
                        f"The engine {message.engine} speaks protocol {message.protocol}, this "
                        f"add-on speaks {protocol.VERSION}.",
                        "Update the engine and the add-on together, then restart Blender.",
                    )
                )
                return
            self.hello = message
        elif isinstance(message, protocol.Ready):
            self.ready, self.state = message, EngineState.READY
        elif isinstance(message, protocol.Heartbeat):
            self.memory_gb, self.held_gb = message.memory_gb, message.held_gb
        elif isinstance(message, protocol.MemoryFreed):
            self.memory_gb, self.held_gb = message.memory_gb, 0.0
        elif isinstance(message, protocol.Progress):
            self._watchdog.saw(message.phase, message.step)
        elif isinstance(message, (protocol.Done, protocol.Failed)):
            self.state, self._cancelled_at = EngineState.READY, 0.0
            if self._start and self._start.child:
                self._start.child.last_lines.clear()  # a later death is told by other words
            if isinstance(message, protocol.Done):
                self._watchdog.end()

    def _watch(self) -> None:
        """End an engine that is silent, stuck, or deaf to Cancel."""
        now = time.monotonic()
        if now - self._looked > ASLEEP_S:  # the machine slept, or this process was stopped
            self._heard += now - self._looked
        self._looked = now
        silent_s = now - self._heard
        starting = self.state is EngineState.STARTING
        limit_s = START_TIMEOUT_S if starting else SILENCE_TIMEOUT_S
        if silent_s > limit_s:
            doing = "did not start" if starting else "has said nothing"
            self._fail(self._died(f"The engine {doing} for {silent_s:.0f} s and was ended."))
        elif self._cancelled_at and now - self._cancelled_at > CANCEL_TIMEOUT_S:
            spent_s = now - self._cancelled_at
            self._fail(
                Cancelled(
                    f"Cancelled; the engine did not answer for {spent_s:.0f} s and was ended."
                )
            )
        elif self.state is EngineState.BUSY and (stuck := self._watchdog.stuck()):
            self._fail(self._died(f"The engine is stuck and was ended. {stuck}."))

    def _ended(self) -> None:
        child = self._start.child if self._start else None
        if child is None:  # it could not be made
            fault = self._start.fault if self._start else None
            self._fail(fault or EngineMissing(f"{self.python} could not be started.", REMEDY))
            return
        child.wait(0.5)  # the other pipe's last lines come at the same moment
        code = child.code or 0
        if self.ready is None and code >= 0:
            self._fail(self._unfit(f"it ended with exit code {code} and said nothing"))
            return
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        self._fail(self._died(f"The engine ended {how}."))

    def _unfit(self, silence: str) -> EngineMissing:
        """Why a Python ended before Ready: what the engine says of it as JSON, its last line where
        not even the engine ran, or ``silence``."""
        child = self._start.child if self._start else None
        said = child.last_lines[-1] if child and child.last_lines else silence
        message = f"{self.python} cannot run the engine: {said}."
        with contextlib.suppress(ValueError, KeyError, TypeError):
            message = json.loads(said)["error"]["message"]
        return EngineMissing(message, f"{REMEDY} Copy Report there lists what is missing.")

    def _died(self, message: str) -> EngineDied:
        child = self._start.child if self._start else None
        lines = "\n".join(child.last_lines) if child else ""
        return EngineDied(
            f"{message} Its last words:\n{lines}" if lines else message,
            f"Run the job again; the whole log is in {self.log}.",
        )

    def _fail(self, error: WanError) -> None:
        self.kill()
        missing = isinstance(error, EngineMissing)
        self.error = error
        self.state = EngineState.MISSING if missing else EngineState.FAILED


class _Start:
    """One start of an engine: its child, made on a thread because a process takes tens of
    milliseconds to make, and what was written before it was there."""

    def __init__(self, python: Path, module: str, log: IO[str]) -> None:
        self.inbox: Inbox = queue.SimpleQueue()
        self.child: Child | None = None
        self.fault: EngineMissing | None = None
        self._killed = False
        self._unsent: list[str] = []
        self._lock = threading.Lock()
        command = (python, "-m", module, "serve")
        self._thread = threading.Thread(target=self._make, args=(command, log), daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self.child.alive if self.child else self._thread.is_alive()

    def write(self, line: str) -> None:
        with self._lock:
            if self.child:
                self.child.write(line)
            else:
                self._unsent.append(line)

    def wait(self) -> Child | None:
        """The child, once it was made; None where it could not be."""
        self._thread.join()
        return self.child

    def kill(self) -> None:
        with self._lock:
            self._killed = True
        if self.child:
            self.child.kill()

    def _make(self, command: tuple[Path | str, ...], log: IO[str]) -> None:
        try:
            child = Child(command, _decoder(self.inbox), _writer(log), listens=True)
        except OSError as error:
            self.fault = could_not_start(command[0], error)
            self.inbox.put(None)
            log.close()
            return
        with self._lock:
            self.child = child
            for line in self._unsent:
                child.write(line)
        if self._killed:
            child.kill()
        child.wait()
        self.inbox.put(None)
        log.close()


def _open_log(path: Path) -> IO[str]:
    """The log, begun again where it has grown large. Raises DiskFull."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > LOG_BYTES:
            os.replace(path, path.with_suffix(".old" + path.suffix))
        return open(path, "a", encoding="utf-8")  # closed when its writer is forgotten
    except OSError as error:
        told = from_os_error(error, "opening the engine's log")
        told.hint = f"Free some space, or make {path.parent} a folder you may write to."
        raise told from error


def _writer(log: IO[str]) -> Hear:
    def write(line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk must not stop the reading
            log.write(line + "\n")
            log.flush()

    return write


def _decoder(inbox: Inbox) -> Hear:
    def decode(line: str) -> None:
        try:
            inbox.put(protocol.decode(line))
        except ProtocolError as error:
            inbox.put(error)

    return decode
