# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the engine, as text to paste: the engine's doctor in a child process, or why
it cannot be asked. stdlib only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..core.errors import EngineMissing, WanError
from ..process.call import EngineCall


class Diagnosis:
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
        """Never blocks."""
        return self._call is not None and not self._call.finished

    def wait(self) -> None:
        if self._call:
            self._call.wait()

    def report(self) -> str:
        """All that was found, once it has ended."""
        if self._call:
            call, self._call = self._call, None
            try:
                self._lines += call.result()
            except WanError as error:
                self._lines.append(f"!!  {error}")
        return "\n".join(self._lines)

    def close(self) -> None:
        if self.running:
            self._call.kill()


_current: Diagnosis | None = None


def current() -> Diagnosis | None:
    """The diagnosis that runs, or the last one that did."""
    return _current


def start(facts: list[str], find_python: Callable[[], Path]) -> Diagnosis:
    global _current
    _current = Diagnosis(facts, find_python)
    return _current


def close() -> None:
    global _current
    if _current:
        _current.close()
    _current = None
