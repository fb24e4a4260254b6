# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C and SIGTERM as a wish to stop a run, seen in the middle of a long call into torch, too."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading

from ..core.errors import Cancelled

GRACE_S = 10.0  # from SIGTERM to the end, for those who send it only once


def listen() -> threading.Event:
    """An event that the first Ctrl-C or SIGTERM sets. The second one, or GRACE_S after SIGTERM,
    ends the process at once, which leaves the job as a kill does: ready to be run again.

    Python runs signal handlers between two of its own instructions, so one call into torch can hold
    them up for minutes; what it writes to the wakeup socket comes at once.
    """
    wanted = threading.Event()
    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_hear, args=(heard, told, wanted), daemon=True).start()
    return wanted


def _hear(heard: socket.socket, told: socket.socket, wanted: threading.Event) -> None:
    """``told`` is kept open here, as long as the process lives."""
    first = heard.recv(1)[0]
    wanted.set()
    print("Stopping after this step; Ctrl-C again ends it at once.", file=sys.stderr, flush=True)
    heard.settimeout(GRACE_S if first == signal.SIGTERM else None)
    with contextlib.suppress(TimeoutError):
        heard.recv(1)
    os._exit(Cancelled.exit_code)
