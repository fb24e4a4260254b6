# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C as a wish to stop, not as an exception in the middle of something. stdlib only."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


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
