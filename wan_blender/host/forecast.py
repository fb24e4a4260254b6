# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory that the run in the panel would take, asked of the engine in a child process once the
settings have settled. Asking costs nothing; what came back is kept for the same settings.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core import schema
from ..core.errors import Cancelled, WanError
from ..process.call import EngineCall
from .interface import redraw_sidebar, start_timer, stop_timer
from .outlook import Outlook

TICK_S = 0.2
QUIET_S = 0.8  # after the last change of a setting that matters


class Forecast:
    """``answer`` is what engine/forecast.py says of the settings asked for last, None while it is
    not known; ``error`` what kept it from being known."""

    def __init__(self, find_python: Callable[[], Path]) -> None:
        self.answer: dict[str, Any] | None = None
        self.error: WanError | None = None
        self._find_python = find_python
        self._wanted, self._asked = "", ""
        self._since = 0.0
        self._call: EngineCall | None = None

    def ask(self, view: Outlook) -> None:
        """Have the memory of this run foretold; at once where it is known. Never blocks."""
        wanted = _describe(view)
        if wanted == self._wanted:
            return
        self._wanted, self._since = wanted, time.monotonic()
        self.answer = self.error = None
        if self._call:
            self._call.cancel()  # nobody waits for its answer any more
        start_timer(_tick)

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._call is not None or self._asked != self._wanted

    def tick(self) -> bool:
        """Move on; whether there is something new to draw."""
        if self._call:
            if not self._call.finished:
                return False
            call, self._call = self._call, None
            if self._asked == self._wanted:
                self._take(call)
                return True
        if self._asked != self._wanted and time.monotonic() - self._since >= QUIET_S:
            self._asked = self._wanted
            try:
                self._call = EngineCall(self._find_python(), "forecast", self._wanted)
            except WanError as error:
                self.error = error
                return True
        return False

    def wait(self) -> None:
        """Until the answer is there, for scripts."""
        self._since = 0.0
        while self.busy:
            self.tick()
            if self._call:
                self._call.wait()

    def close(self) -> None:
        if self._call:
            self._call.kill()
            self._call = None

    def _take(self, call: EngineCall) -> None:
        try:
            self.answer = call.result()
        except Cancelled:
            pass
        except WanError as error:
            self.error = error


def _describe(view: Outlook) -> str:
    """The job as JSON, with only what memory depends on."""
    everything = schema.to_dict(view.settings)
    kept = {name: everything[name] for name in ("model", "windows", "region", "loras", "stages")}
    width, height = view.canvas
    shot = {"width": width, "height": height, "frame_count": view.frames, "fps_num": 24}
    sampling = {name: everything["sampling"][name] for name in ("guidance", "compute")}
    return json.dumps({"shot": shot, "sampling": sampling, **kept})


_forecast: Forecast | None = None


def forecast() -> Forecast:
    return _forecast


def register(find_python: Callable[[], Path]) -> None:
    global _forecast
    _forecast = Forecast(find_python)


def unregister() -> None:
    global _forecast
    stop_timer(_tick)
    _forecast.close()
    _forecast = None


def _tick() -> float | None:
    if _forecast.tick():
        redraw_sidebar()
    return TICK_S if _forecast.busy else None
