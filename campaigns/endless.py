# SPDX-License-Identifier: GPL-3.0-or-later
"""Job after job in one engine: what it holds does not grow."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.engine.folders import make_job, noise_plate
from tests.engine.untrained import write_untrained
from wan_blender.core import protocol

from .engine import Engine
from .tally import Attempt, Broken, Outcome

COUNT = 20_000
PROMISE = (
    "memory after the first 500 jobs grows by under 20 MB; descriptors, threads, temporary files "
    "and cache stay"
)
MEANS = (
    "`engine serve`, a model with random weights, 3 frames of 16x16, two seeds in turn. Memory is "
    "that of the process (RSS); of all figures the lowest of the last 20 jobs counts. A run that "
    "goes on after it was stopped has a new engine, whose first 500 jobs count as its warm-up."
)
WARM_UP = 500
GROWTH_MB = 20.0
LAST = 20  # jobs of which the lowest counts: some memory and a thread are given back late


class Meter:
    """What one engine holds after each job, against what it held when it was warm."""

    def __init__(self, warm_up: int = WARM_UP) -> None:
        self._warm_up, self._jobs = warm_up, 0
        self._recent: list[dict[str, float]] = []
        self._warm: dict[str, float] = {}

    def note(self, held: dict[str, float]) -> dict[str, float]:
        """Growth since the warm-up, {} before its end."""
        self._jobs += 1
        self._recent = [*self._recent, held][-LAST:]
        now = {name: min(before[name] for before in self._recent) for name in held}
        if self._jobs == self._warm_up:
            self._warm = now
        if not self._warm:
            return {}
        return {name: value - self._warm[name] for name, value in now.items()}


def measure(engine: Engine, scratch: Path, cache: Path) -> dict[str, float]:
    process = engine.process
    return {
        "MB": process.memory_info().rss / 1e6,
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
        "temporary files": sum(len(files) for _, _, files in os.walk(scratch)),
        "cached files": sum(len(files) for _, _, files in os.walk(cache)),
    }


@contextmanager
def attempts(work: Path, warm_up: int = WARM_UP) -> Iterator[Attempt]:
    place = work / "endless"
    shutil.rmtree(place, ignore_errors=True)
    scratch = place / "tmp"
    scratch.mkdir(parents=True)
    model = write_untrained(place / "model", "t2v")
    plate, mask = noise_plate(3, 16, 16), np.zeros((3, 16, 16), np.uint16)
    mask[:, 3:11, 4:12] = 65535
    folders = [
        make_job(place / f"job {seed}", plate, mask, model__path=str(model), sampling__steps=1,
                 sampling__seed=seed)
        for seed in range(2)
    ]  # fmt: skip
    meter = Meter(warm_up)
    before, os.environ["TMPDIR"] = os.environ.get("TMPDIR"), str(scratch)
    engine = Engine(place / "cache")

    def attempt(number: int, chance: random.Random) -> Outcome:
        folder = folders[number % 2]
        answer = engine.run(folder)
        if not isinstance(answer, protocol.Done):
            raise Broken(f"A job that had run before failed: {answer.error}")
        (folder / "state.jsonl").unlink()  # the journal of one job in 10,000 runs is not meant
        grown = meter.note(measure(engine, scratch, place / "cache"))
        over = [n for n, value in grown.items() if value > (GROWTH_MB if n == "MB" else 0)]
        if over:
            raise Broken(f"Grown since the warm-up: {grown}")
        return Outcome("done", {f"grown {name}": value for name, value in grown.items()})

    try:
        yield attempt
    finally:
        engine.close()
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
        shutil.rmtree(place, ignore_errors=True)
