# SPDX-License-Identifier: GPL-3.0-or-later
"""Time on a device, within a budget: a section that has none left says what it skipped."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

import torch

Row = tuple[str, str, str]


class Skipped(Exception):
    """Why something was not measured, as one sentence."""


@dataclass
class Bench:
    """``device`` and what was found on it. ``deadline`` is the end of the section at work, on the
    monotonic clock; ``rate`` the TFLOP/s of the last long call, for estimates before a call."""

    device: torch.device
    rows: list[Row] = field(default_factory=list)
    deadline: float = float("inf")
    rate: float = 100.0

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.is_cuda else torch.float32

    def add(self, what: str, result: str, how: str = "") -> None:
        self.rows.append((what, result, how))
        print(f"   {what} | {result} | {how}", flush=True)

    @contextmanager
    def item(self, what: str) -> Iterator[None]:
        """One measurement: what keeps it from being made becomes its row."""
        try:
            yield
        except Skipped as reason:
            self.add(what, "skipped", str(reason))
        except (RuntimeError, ImportError, ValueError, TypeError, AssertionError) as error:
            # whatever a backend, a compiler or a card without room says: the table goes on
            lines = str(error).strip().splitlines() or [""]
            self.add(what, "not possible", f"{type(error).__name__}: {lines[0][:160]}")
        finally:
            self.free()

    def need(self, seconds: float) -> None:
        """Raise Skipped unless the section has ``seconds`` left."""
        left = self.deadline - time.monotonic()
        if seconds > left:
            raise Skipped(f"It takes about {seconds:.0f} s; {max(left, 0):.0f} s are left for it.")

    def need_gb(self, gigabytes: float) -> None:
        """Raise Skipped unless the card has room."""
        if self.is_cuda:
            free = torch.cuda.mem_get_info()[0] / 1e9
            if gigabytes > free:
                raise Skipped(f"It takes {gigabytes:.0f} GB; {free:.0f} GB are free.")

    def seconds(self, run: Callable[[], object], times: int, warm: int) -> float:
        """Median of ``times`` after ``warm`` runs, fewer where the section's time ends."""
        found: list[float] = []
        for _ in range(warm + times):
            self.wait()
            began = time.perf_counter()
            run()
            self.wait()
            found.append(time.perf_counter() - began)
            if time.monotonic() + found[-1] > self.deadline:
                break
        return median(found[min(warm, len(found) - 1) :])

    def peak_gb(self, run: Callable[[], object]) -> float:
        """Most memory that tensors took while ``run`` ran; 0 where the device does not tell."""
        if not self.is_cuda:
            run()
            return 0.0
        torch.cuda.reset_peak_memory_stats()
        run()
        self.wait()
        return torch.cuda.max_memory_allocated() / 1e9

    def wait(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize()

    def free(self) -> None:
        gc.collect()
        if self.is_cuda:
            torch.cuda.empty_cache()


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
