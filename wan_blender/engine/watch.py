# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress, cancel and timing of one job, as the pipeline sees them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from .. import job as jobs
from ..errors import Cancelled
from ..protocol import Progress

# Share of a typical run on a small GPU; only the progress bar depends on it.
PHASES = {
    "reading": 0.02,
    "loading": 0.06,
    "text": 0.02,
    "encoding": 0.06,
    "conditioning": 0.04,
    "denoising": 0.65,
    "decoding": 0.1,
    "writing": 0.05,
}


class Watch:
    """``emit`` gets Progress messages; ``cancelled`` is the worker's event for this job."""

    def __init__(
        self,
        folder: Path,
        emit: Callable[[Progress], None] = lambda message: None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.folder, self._emit = folder, emit
        self._cancelled = cancelled or threading.Event()
        self.seconds: dict[str, float] = {}
        self._phase, self._steps, self._began = "", 0, time.monotonic()
        self.peak_memory_gb = 0.0
        self.taken_gb = 0.0  # of the device, by this run alone; 1e9 bytes, as plans count

    @contextmanager
    def phase(self, name: str, steps: int = 0) -> Iterator[None]:
        """Time, report and journal one phase of PHASES. Raises Cancelled at its start."""
        self._phase, self._steps, self._began = name, steps, time.monotonic()
        self.step(0)
        yield
        spent = time.monotonic() - self._began
        self.seconds[name] = self.seconds.get(name, 0) + spent
        jobs.append_state(self.folder, name, seconds=round(spent, 3))

    def step(self, done: int) -> None:
        """``done`` steps of the phase are finished. Raises Cancelled when asked to stop."""
        self.check()
        names = list(PHASES)
        before = sum(PHASES[n] for n in names[: names.index(self._phase)])
        share = done / self._steps if self._steps else 0.0
        spent = time.monotonic() - self._began
        eta = spent / done * (self._steps - done) if done else -1.0
        self._emit(
            Progress(
                str(self.folder),
                self._phase,
                done,
                self._steps,
                round(before + share * PHASES[self._phase], 4),
                round(eta, 1),
            )
        )

    @contextmanager
    def measure_memory(self, interval_s: float = 0.05) -> Iterator[None]:
        """Peak resident memory of this process (and of the GPU) while the block runs."""
        process, done = psutil.Process(), threading.Event()
        before = process.memory_info().rss
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

        def sample() -> None:
            while not done.is_set():
                self.peak_memory_gb = max(self.peak_memory_gb, process.memory_info().rss / 2**30)
                done.wait(interval_s)

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
                self.taken_gb = torch.cuda.max_memory_allocated() / 1e9
            else:
                self.taken_gb = max(0.0, self.peak_memory_gb * 2**30 - before) / 1e9

    def check(self) -> None:
        if self._cancelled.is_set() or jobs.cancel_requested(self.folder):
            raise Cancelled()
