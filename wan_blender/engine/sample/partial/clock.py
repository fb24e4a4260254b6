# SPDX-License-Identifier: GPL-3.0-or-later
"""Times of calls by kind, on a GPU by its own events, so that nothing waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import torch


class Clock:
    def __init__(self) -> None:
        self._seconds: list[tuple[str, float]] = []
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    def add(self, kind: str, seconds: float) -> None:
        self._seconds.append((kind, seconds))

    @contextmanager
    def time(self, kind: str, device: torch.device) -> Iterator[None]:
        if device.type == "cuda":
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            yield
            ended.record()
            self._events.append((kind, began, ended))
        else:
            start = time.perf_counter()
            yield
            self.add(kind, time.perf_counter() - start)

    def all(self) -> list[tuple[str, float]]:
        """(kind, seconds) of every call so far."""
        for kind, began, ended in self._events:
            ended.synchronize()
            self.add(kind, began.elapsed_time(ended) / 1000)
        self._events.clear()
        return self._seconds

    def ratio(self, kind: str) -> float | None:
        """All calls over as many as long as the median one of ``kind``; None where there is
        none."""
        spent = self.all()
        of_kind = [seconds for name, seconds in spent if name == kind]
        if not of_kind:
            return None
        return round(sum(s for _, s in spent) / (len(spent) * median(of_kind)), 4)
