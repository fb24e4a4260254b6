# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine process as an object: find its Python, start it, talk to it, end it. stdlib only.

The child runs ``python -m wan_blender.engine serve`` in its own process group. Two threads read
its pipes: stdout carries messages (protocol.py), stderr goes to the log file. ``poll`` never
blocks, so a user interface may call it at any time. The child ends with its host: by Shutdown,
by stdin EOF when the host was killed, by ``kill`` when it does not listen.
"""

from __future__ import annotations

import atexit
import contextlib
import enum
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ..core import protocol
from ..core.errors import EngineDied, EngineMissing, ProtocolError, WanError, from_os_error

PACKAGE_PARENT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 300.0  # a first import of torch from a cold disk takes minutes
SILENCE_TIMEOUT_S = 120.0  # heartbeats come every 2 s; loading a model may hold them up
STOP_GRACE_S = 5.0
LOG_BYTES = 4 << 20
LAST_LINES = 12
# What Blender and its launchers set for their own libraries breaks another Python.
UNWANTED = (
    "PYTHON",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "DYLD_",
    "VIRTUAL_ENV",
    "BLENDER_",
)
PYTHON_VARIABLE = "WAN_ENGINE_PYTHON"
REMEDY = (
    "Press Install Engine in the add-on's preferences, or choose there the Python of an "
    "environment that has torch and diffusers."
)


class EngineState(enum.Enum):
    STOPPED = "stopped"  # not started yet, or ended on request
    MISSING = "missing"  # no Python that can run it; ``error`` says why
    STARTING = "starting"  # runs, has not said Hello
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


def child_environment() -> dict[str, str]:
    """The host's environment without what is meant for the host's own Python and libraries."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(UNWANTED)}
    return kept | {
        "PYTHONPATH": str(PACKAGE_PARENT),
        "PYTHONSAFEPATH": "1",  # no code from the folder it is started in
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def home_of(program: Path | str) -> Path:
    """Where a child is started: its program's own folder, which holds no stranger's files. A Python
    before 3.11 looks for modules where it is started, Windows for programs and libraries."""
    return Path(program).absolute().parent


def start_child(
    python: Path, module: str, *arguments: str, stdin: int, **options: object
) -> subprocess.Popen[str]:
    """``python -m MODULE ARGUMENTS`` in a clean environment, its output piped as text. Raises
    EngineMissing."""
    try:
        return subprocess.Popen(
            [str(python), "-m", module, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=child_environment(),
            cwd=home_of(python),
            **options,
        )
    except OSError as error:
        raise EngineMissing(
            f"{python} could not be started: {error.strerror or error}.",
            "Choose another Python in the add-on's preferences.",
        ) from error


class EngineProcess:
    """One engine. ``state`` and ``error`` are up to date after each ``poll``."""

    def __init__(self, python: Path, log: Path, module: str = "wan_blender.engine") -> None:
        self.python = python
        self.log = log
        self.module = module
        self.state = EngineState.STOPPED
        self.error: WanError | None = None
        self.hello: protocol.Hello | None = None
        self.memory_gb = 0.0
        self._child: subprocess.Popen[str] | None = None
        self._inbox: queue.SimpleQueue[protocol.Message | WanError | None] = queue.SimpleQueue()
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._heard = 0.0  # monotonic seconds

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        return self._child.pid if self._child else 0

    def start(self) -> None:
        """Start the child; returns at once. Raises EngineMissing or DiskFull."""
        self.error, self.hello = None, None
        self._last_lines.clear()
        self._inbox = queue.SimpleQueue()
        log = self._open_log()
        try:
            self._child = start_child(
                self.python, self.module, "serve", stdin=subprocess.PIPE, **_own_group()
            )
        except EngineMissing as error:
            log.close()
            self.state, self.error = EngineState.MISSING, error
            raise
        atexit.register(self.kill)
        self.state, self._heard = EngineState.STARTING, time.monotonic()
        # The threads get the objects of this start: a restart must not mix two children.
        _thread(_read_messages, self._child.stdout, self._inbox)
        self._log_thread = _thread(_read_log, self._child.stderr, log, self._last_lines)

    def send(self, message: protocol.Message) -> None:
        """Write one message. A child that is gone is noticed by the next ``poll``."""
        if self._child is None:
            return
        if isinstance(message, protocol.Run):
            self.state = EngineState.BUSY
        with contextlib.suppress(OSError, ValueError):
            self._child.stdin.write(protocol.encode(message) + "\n")
            self._child.stdin.flush()

    def poll(self) -> protocol.Message | None:
        """The next message, or None. Never blocks, never raises; see ``state`` and ``error``."""
        if self._child is None:
            return None
        try:
            message = self._inbox.get_nowait()
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
        if self._child is None:
            return
        self.send(protocol.Shutdown())
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(grace_s)
        self.kill()
        self.state = EngineState.STOPPED

    def kill(self) -> None:
        """End the child and all it started, at once."""
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(OSError):
            if os.name == "nt":
                child.kill()
            else:
                os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        with contextlib.suppress(OSError):
            child.stdin.close()
        atexit.unregister(self.kill)

    def _open_log(self):
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
                os.replace(self.log, self.log.with_suffix(".old" + self.log.suffix))
            return open(self.log, "a", encoding="utf-8")  # closed by the thread that writes it
        except OSError as error:
            told = from_os_error(error, "opening the engine's log")
            told.hint = f"Free some space, or make {self.log.parent} a folder you may write to."
            raise told from error

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
            self.hello, self.state = message, EngineState.READY
        elif isinstance(message, protocol.Heartbeat):
            self.memory_gb = message.memory_gb
        elif isinstance(message, (protocol.Done, protocol.Failed)):
            self.state = EngineState.READY
            self._last_lines.clear()  # what a later death is told by is not of this job

    def _watch(self) -> None:
        silent_s = time.monotonic() - self._heard
        starting = self.state is EngineState.STARTING
        limit_s = START_TIMEOUT_S if starting else SILENCE_TIMEOUT_S
        if silent_s > limit_s:
            doing = "did not start" if starting else "has said nothing"
            self._fail(self._died(f"The engine {doing} for {silent_s:.0f} s and was ended."))

    def _ended(self) -> None:
        code = self._child.wait()
        self._log_thread.join(0.05)  # the other pipe's last lines come at the same moment
        if self.hello is None and code >= 0:
            self._fail(self._unfit(f"it ended with exit code {code} and said nothing"))
            return
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        self._fail(self._died(f"The engine ended {how}."))

    def _unfit(self, silence: str) -> EngineMissing:
        """Why a Python ended before Hello: what the engine says of it as JSON, its last line where
        not even the engine ran, or ``silence``."""
        said = self._last_lines[-1] if self._last_lines else silence
        message = f"{self.python} cannot run the engine: {said}."
        with contextlib.suppress(ValueError, KeyError, TypeError):
            message = json.loads(said)["error"]["message"]
        return EngineMissing(message, f"{REMEDY} Copy Report there lists what is missing.")

    def _died(self, message: str) -> EngineDied:
        lines = "\n".join(self._last_lines)
        return EngineDied(
            f"{message} Its last words:\n{lines}" if lines else message,
            f"Run the job again; the whole log is in {self.log}.",
        )

    def _fail(self, error: WanError) -> None:
        self.kill()
        missing = isinstance(error, EngineMissing)
        self.error, self.state = error, EngineState.MISSING if missing else EngineState.FAILED


def _own_group() -> dict[str, object]:
    """Ctrl-C in the host's terminal is the host's affair, and one kill reaches grandchildren."""
    if os.name == "nt":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return {"creationflags": flags}
    return {"start_new_session": True}


def _thread(target: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    return thread


def _read_messages(pipe, inbox: queue.SimpleQueue) -> None:
    with pipe:
        for line in pipe:
            try:
                inbox.put(protocol.decode(line))
            except ProtocolError as error:
                inbox.put(error)
    inbox.put(None)


def _read_log(pipe, log, last_lines: deque[str]) -> None:
    with pipe, log:
        for line in pipe:
            last_lines.append(line.rstrip())
            with contextlib.suppress(OSError):  # a full disk must not stop the reading
                log.write(line)
                log.flush()
