# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the engine, as text to paste: the engine's doctor in a child process, or why
it cannot be asked. stdlib only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..core.errors import EngineMissing, WanError
from ..process.call import EngineCall
from ..process.task import Task


class Diagnosis(Task):
    """``facts`` are lines of the report known already; ``find_python`` may raise EngineMissing."""

    def __init__(self, facts: list[str], find_python: Callable[[], Path]) -> None:
        self._lines = facts
        self._call: EngineCall | None = None
        try:
            self._call = EngineCall(find_python(), "doctor", "--json")
        except EngineMissing as error:
            self._lines.append(f"!!  {error}")

    @property
    def running(self) -> bool:
        return self._call is not None

    def tick(self) -> bool:
        if self._call and not self._call.finished:
            return False
        call, self._call = self._call, None
        try:
            self._lines += call.result() if call else ()
        except WanError as error:
            self._lines.append(f"!!  {error}")
        return True

    def report(self) -> str:
        """All that was found so far."""
        return "\n".join(self._lines)

    def close(self) -> None:
        if self._call:
            self._call.kill()
            self._call = None
