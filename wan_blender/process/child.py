# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that is started, listened to and ended: the one child process class. stdlib only.

It runs in a clean environment, in its program's own folder and in a process group of its own. Two
threads read what it prints, so asking how it is never blocks. It ends with this process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ..core.errors import EngineMissing

PACKAGE_PARENT = Path(__file__).resolve().parents[2]
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

Hear = Callable[[str], None]  # one line, without its end


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


def could_not_start(program: Path | str, error: OSError) -> EngineMissing:
    return EngineMissing(
        f"{program} could not be started: {error.strerror or error}.",
        "Choose another Python in the add-on's preferences.",
    )


class Child:
    """One run of ``command``. ``hear`` gets each line of its stdout, ``log`` each of its stderr,
    both on threads of their own. Raises OSError where it cannot be started.

    ``listens`` gives it a stdin to ``write`` to; else that is empty.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        hear: Hear,
        log: Hear = lambda line: None,
        listens: bool = False,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)  # of its stderr
        self._child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE if listens else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=child_environment() if environment is None else environment,
            cwd=folder or home_of(command[0]),
            **_own_group(),
        )
        atexit.register(self.kill)

        def keep(line: str) -> None:
            self.last_lines.append(line)
            log(line)

        pipes = ((self._child.stdout, hear), (self._child.stderr, keep))
        self._readers = [threading.Thread(target=_read, args=p, daemon=True) for p in pipes]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    @property
    def finished(self) -> bool:
        """Whether it has ended and all it printed was heard. Never blocks."""
        return not self.alive and not any(reader.is_alive() for reader in self._readers)

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._child.poll()

    def write(self, line: str) -> None:
        """One line to its stdin. A child that is gone is noticed elsewhere."""
        pipe = self._child.stdin
        with contextlib.suppress(OSError, ValueError):
            if pipe:
                pipe.write(line + "\n")
                pipe.flush()

    def hang_up(self) -> None:
        """End its stdin, which asks it to finish."""
        with contextlib.suppress(OSError, ValueError):  # a killed child's pipe
            if self._child.stdin:
                self._child.stdin.close()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until it has ended and was heard to its end; False when that took too long."""
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        for reader in self._readers:
            reader.join(timeout_s)
        atexit.unregister(self.kill)
        return self.finished

    def terminate(self) -> None:
        """Ask it to stop, as Ctrl-C would."""
        self._child.terminate()

    def kill(self) -> None:
        """End it and all it started, at once."""
        atexit.unregister(self.kill)
        with contextlib.suppress(OSError):
            if os.name == "nt":
                self._child.kill()
            else:
                os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self.hang_up()


def _own_group() -> dict[str, Any]:
    """Ctrl-C in the host's terminal is the host's affair, and one kill reaches grandchildren."""
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return {"creationflags": flags}
    return {"start_new_session": True}


def _read(pipe: IO[str], hear: Hear) -> None:
    with pipe:
        for line in pipe:
            hear(line.rstrip("\r\n"))
