# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a call of the engine is; each call fills what it knows. stdlib only."""

from __future__ import annotations

from dataclasses import dataclass

from .typed import entry


@dataclass(frozen=True)
class CallProgress:
    looking: str = entry("Folder that is searched", "")
    file: str = entry("File that is downloaded", "")
    done: float = entry("Bytes or items done", 0.0)
    total: float = entry("Bytes or items in all; 0: not known yet", 0.0)
    speed_mb_s: float = entry("Speed over the last seconds, MB/s", 0.0)
    eta_s: float = entry("Seconds left; -1: not known", -1.0)
    wait_s: float = entry("Seconds until the server is asked again; 0 while it sends", 0.0)
