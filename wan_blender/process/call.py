# SPDX-License-Identifier: GPL-3.0-or-later
"""One command of the engine as a child process: JSON on its stdout, progress as JSON lines on its
stderr. For what is asked now and then; runs go through the warm engine (engine.py). stdlib only.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, TypeVar

from ..core import errors
from ..core.answers.progress import CallProgress
from ..core.answers.typed import read
from .child import Child, could_not_start

T = TypeVar("T")


class EngineCall:
    """``python -m wan_blender.engine ARGUMENTS``, started at once; ``poll`` it, take ``result``.

    ``progress`` is the newest that was told. Raises EngineMissing.
    """

    def __init__(self, python: Path, *arguments: str) -> None:
        self.arguments = arguments
        self.cancelled = False
        self.progress = CallProgress()
        self._error: dict[str, str] = {}
        self._answer: list[str] = []
        command: tuple[str | Path, ...] = (python, "-m", "wan_blender.engine", *arguments)
        try:
            self._child = Child(command, self._answer.append, self._read_progress)
        except OSError as error:
            raise could_not_start(python, error) from error

    @property
    def finished(self) -> bool:
        """Never blocks."""
        return self._child.finished

    def result(self) -> Any:
        """The answer of a finished call. Raises what the engine raised, or EngineDied."""
        self._child.wait()
        if self.cancelled:
            raise errors.Cancelled
        if self._error:
            raise errors.from_dict(self._error)
        try:
            return json.loads("\n".join(self._answer))
        except ValueError as error:
            raise errors.EngineDied(
                f"The engine ended with code {self._child.code} and no answer to "
                f"{' '.join(self.arguments[:2])!r}.",
                "Its last lines: " + " | ".join(self._child.last_lines),
            ) from error

    def answer(self, cls: type[T]) -> T:
        """``result`` as a ``cls`` of core/answers."""
        try:
            return read(cls, self.result(), "It")
        except ValueError as error:
            raise errors.ProtocolError(
                f"The engine's answer to {self.arguments[0]!r} does not fit: {error}.",
                "Reinstall the engine: it is of another version.",
            ) from error

    def cancel(self) -> None:
        """Ask it to stop; it is finished within a moment, and what it wrote is whole."""
        self.cancelled = True
        self._child.terminate()

    def wait(self) -> None:
        """Until it is finished."""
        self._child.wait()

    def kill(self) -> None:
        """End it at once."""
        self._child.kill()
        self._child.wait()

    def _read_progress(self, line: str) -> None:
        told: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            told = json.loads(line)
        if isinstance(told, dict) and "error" in told:
            self._error = told["error"]
        elif isinstance(told, dict):
            with contextlib.suppress(ValueError):
                self.progress = read(CallProgress, told, "it")
