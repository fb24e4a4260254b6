# SPDX-License-Identifier: GPL-3.0-or-later
"""One command of the engine as a child process: JSON on its stdout, progress as JSON lines on its
stderr. For what is asked now and then; runs go through the warm engine (engine.py). stdlib only.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import subprocess
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any

from ..core import errors
from .engine import LAST_LINES, start_child


class EngineCall:
    """``python -m wan_blender.engine ARGUMENTS``, started at once; ``poll`` it, take ``result``.

    ``progress`` is the newest line of progress, {} before the first. Raises EngineMissing.
    """

    def __init__(self, python: Path, *arguments: str) -> None:
        self.arguments = arguments
        self.cancelled = False
        self.progress: dict[str, Any] = {}
        self._error: dict[str, str] = {}
        self._answer = ""
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._child = start_child(
            python, "wan_blender.engine", *arguments, stdin=subprocess.DEVNULL
        )
        atexit.register(self.kill)
        self._readers = [
            threading.Thread(target=target, args=(pipe,), daemon=True)
            for target, pipe in (
                (self._read_answer, self._child.stdout),
                (self._read_progress, self._child.stderr),
            )
        ]
        for reader in self._readers:
            reader.start()

    @property
    def finished(self) -> bool:
        """Never blocks. The pipes may hold more than the child's end."""
        return self._child.poll() is not None and not any(r.is_alive() for r in self._readers)

    def result(self) -> Any:
        """The answer of a finished call. Raises what the engine raised, or EngineDied."""
        atexit.unregister(self.kill)
        if self.cancelled:
            raise errors.Cancelled
        if self._error:
            raise errors.from_dict(self._error)
        try:
            return json.loads(self._answer)
        except ValueError as error:
            raise errors.EngineDied(
                f"The engine ended with code {self._child.returncode} and no answer to "
                f"{' '.join(self.arguments[:2])!r}.",
                "Its last lines: " + " | ".join(self._last_lines),
            ) from error

    def cancel(self) -> None:
        """Ask it to stop; it is finished within a moment, and what it wrote is whole."""
        self.cancelled = True
        self._child.terminate()

    def wait(self) -> None:
        """Until it is finished."""
        self._child.wait()
        for reader in self._readers:
            reader.join()

    def kill(self) -> None:
        """End it at once."""
        atexit.unregister(self.kill)
        self._child.kill()
        self.wait()

    def _read_answer(self, pipe: IO[str]) -> None:
        with pipe:
            self._answer = pipe.read()

    def _read_progress(self, pipe: IO[str]) -> None:
        with pipe:
            for line in pipe:
                told: Any = None
                with contextlib.suppress(ValueError):
                    told = json.loads(line)
                if not isinstance(told, dict):
                    self._last_lines.append(line.strip())
                elif "error" in told:
                    self._error = told["error"]
                else:
                    self.progress = told
