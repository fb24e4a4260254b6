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

from ..core import job as jobs
from ..core.errors import Cancelled
from ..core.lock import Claim
from ..core.protocol import Progress

# Share of a typical run on a small GPU; only the progress bar depends on it.
PHASES = {
    "reading": 0.02,
    "text": 0.04,
    "encoding": 0.06,
    "conditioning": 0.04,
    "denoising": 0.69,
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
        self.claim: Claim | None = None  # of the folder, while the job runs
        self._cancelled = cancelled or threading.Event()
        self.seconds: dict[str, float] = {}
        self._phase, self._steps, self._done, self._began = "", 0, 0, time.monotonic()
        self._loading_began = 0.0
        self.peak_memory_gb = 0.0
        self.taken_gb = 0.0  # of the device, by this run alone; 1e9 bytes, as plans count

    @contextmanager
    def phase(self, name: str, steps: int = 0) -> Iterator[None]:
        """Time, report and journal one phase of PHASES. Raises Cancelled at its start."""
        self.check()
        self._phase, self._steps, self._done, self._began = name, steps, 0, time.monotonic()
        self._tell(name, 0, steps, self._began)
        yield
        spent = time.monotonic() - self._began
        self.seconds[name] = self.seconds.get(name, 0) + spent
        jobs.append_state(self.folder, name, seconds=round(spent, 3))

    def step(self, done: int) -> None:
        """``done`` steps of the phase are finished; told when it is more than before, since solvers
        may look twice and a call that did not fit is made again. Raises Cancelled when asked to
        stop."""
        self.check()
        if done > self._done:
            self._done = done
            self._tell(self._phase, done, self._steps, self._began)

    def loading(self, part: str, done: int, total: int) -> None:
        """``done`` of the ``total`` tensors of a model's part are read. A part is loaded where a
        phase first needs it: the time is not counted as that phase's. Raises Cancelled."""
        self.check()
        if done == 0:
            self._loading_began = time.monotonic()
        self._tell(f"loading {part.replace('_', ' ')}", done, total, self._loading_began)
        if done == total:
            spent = time.monotonic() - self._loading_began
            self.seconds["loading"] = self.seconds.get("loading", 0) + spent
            self._began += spent
            jobs.append_state(self.folder, "loading", part=part, seconds=round(spent, 3))
            self.check()
            self._tell(self._phase, self._done, self._steps, self._began)

    def _tell(self, doing: str, done: int, steps: int, began: float) -> None:
        names = list(PHASES)
        share = self._done / self._steps if self._steps else 0.0
        before = sum(PHASES[n] for n in names[: names.index(self._phase)])
        eta = (time.monotonic() - began) / done * (steps - done) if done else -1.0
        fraction = round(before + share * PHASES[self._phase], 4)
        self._emit(Progress(str(self.folder), doing, done, steps, fraction, round(eta, 1)))

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

    @property
    def is_ours(self) -> bool:
        """Whether no other process has been given the job."""
        return self.claim is None or self.claim.holds()

    def check(self) -> None:
        """Raise Cancelled when asked to stop, JobBusy when another process has the job now."""
        if self.claim:
            self.claim.check()
        if self._cancelled.is_set() or jobs.cancel_requested(self.folder):
            raise Cancelled()
