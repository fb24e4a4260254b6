# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs without a window say and hear: an answer of its own on stdout, progress as lines on
stderr, Ctrl-C as a wish to stop. stdlib only.

    {"ok": true, "exit_code": 0, "job": ..., "result": ..., "report": {...}}
    {"ok": false, "exit_code": 2, "error": {"code": "EmptyMask", "message": ..., "hint": ...}}
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, TextIO

from .errors import EngineError, WanError
from .protocol import Progress

INTERVAL_S = 1.0  # between printed lines of one phase
HEARTBEAT_S = 60.0  # Flamenco gives a task ten minutes

Answer = dict[str, Any]


def claim_stdout() -> TextIO:
    """A stream of its own on a duplicate of fd 1; fd 1 then goes where stderr goes. What else is
    printed, by a library or from C and late, cannot get between the lines of the answer."""
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    return stream


class ProgressPrinter:
    """Progress as lines on stderr: one when the phase changes, then one a second at most."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix, self._phase, self._line, self._printed_at = prefix, "", "", 0.0

    def __call__(self, at: Progress) -> None:
        now = time.monotonic()
        if at.phase == self._phase and now - self._printed_at < INTERVAL_S:
            return
        self._phase = at.phase
        steps = f" {at.step}/{at.steps}" if at.steps else ""
        eta = f", {at.eta_s:.0f} s left" if at.eta_s >= 0 else ""
        self._print(f"{self._prefix}{at.fraction:6.1%} {at.phase}{steps}{eta}")

    @contextlib.contextmanager
    def heartbeat(self, pause_s: float = HEARTBEAT_S) -> Iterator[None]:
        """Print the last line once more where nothing was printed for ``pause_s``, while the block
        runs: a farm takes a task that is silent for minutes as dead, and a step may take as
        long."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(pause_s / 4):
                if self._line and time.monotonic() - self._printed_at >= pause_s:
                    self._print(self._line)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _print(self, line: str) -> None:
        self._line, self._printed_at = line, time.monotonic()
        print(line, file=sys.stderr, flush=True)


def succeeded(**told: Any) -> Answer:
    return {"ok": True, "exit_code": 0, **told}


def failed(error: Exception) -> Answer:
    """A bug is an answer too: a script waits for it."""
    if not isinstance(error, WanError):
        error = EngineError(f"The add-on failed: {type(error).__name__}: {error}.", "See stderr.")
    return {"ok": False, "exit_code": error.exit_code, "error": error.to_dict()}


def say(answer: Answer, stdout: TextIO) -> None:
    print(json.dumps(answer, ensure_ascii=False), file=stdout, flush=True)


@contextlib.contextmanager
def interrupts() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one interrupts as usual."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def on_signal(number: int, frame: object) -> None:
        interrupted.set()
        signal.signal(number, after)

    previous = signal.signal(signal.SIGINT, on_signal)
    # None: Blender's own handler, in C, which Python cannot put back.
    after = signal.SIG_DFL if previous is None else previous
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, after)
