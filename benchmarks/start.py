# SPDX-License-Identifier: GPL-3.0-or-later
"""The start of an engine in processor time: to its first message, until it is ready, and to the
first denoise step of a job, with its packages compiled and without; and a job of a warm engine."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from unittest import mock

import psutil

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.worker.test_worker import Engine
from wan_blender.core import protocol

RUNS = 3
FRAMES, SIZE = 5, 64
STAGES = ("first message", "ready", "first denoise step", "first step, second job")


def measure() -> list[tuple[str, str, str]]:
    found: dict[tuple[str, bool], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for run in range(RUNS):
            for compiled in (True, False):
                place = Path(folder) / f"{run}-{compiled}"
                for stage, seconds in zip(STAGES, _start(place, compiled, run), strict=True):
                    found[stage, compiled].append(seconds)
    how = f"processor time, {FRAMES} frames {SIZE}x{SIZE}, bundled model, {RUNS} runs"
    return [_row(stage, found[stage, True], found[stage, False], how) for stage in STAGES]


def _row(stage: str, compiled: list[float], raw: list[float], how: str) -> tuple[str, str, str]:
    now, then = statistics.median(compiled), statistics.median(raw)
    ratio = f"{now:.2f} s; without bytecode {then:.2f} s; ratio {now / then:.2f}"
    return f"cold engine: {stage}", ratio, how


def _start(place: Path, compiled: bool, seed: int) -> list[float]:
    """Seconds until each of STAGES; the last is counted from the end of the first job."""
    variables = {"WAN_BLENDER_CACHE": str(place / "tensors"), "PYTHONDONTWRITEBYTECODE": "1"}
    if not compiled:
        variables["PYTHONPYCACHEPREFIX"] = str(place / "nothing")
    with mock.patch.dict(os.environ, variables), Engine("serve") as engine:
        process = psutil.Process(engine.child.pid)

        def spent() -> float:
            times = process.cpu_times()
            return times.user + times.system

        assert isinstance(engine.read(), protocol.Hello)
        seconds = [spent()]
        engine.read_until(protocol.Ready)
        seconds.append(spent())
        for number in range(2):
            before = spent() if number else 0.0
            engine.send(protocol.Run(str(_job(place / str(number), seed))))
            while not _is_first_step(engine.read()):
                pass
            seconds.append(spent() - before)
            engine.read_until(protocol.Done)
    return seconds


def _is_first_step(message: protocol.Message) -> bool:
    return isinstance(message, protocol.Progress) and message.phase == "denoising" and message.step


def _job(folder: Path, seed: int) -> Path:
    plate, mask = noise_plate(FRAMES, SIZE, SIZE), moving_square(FRAMES, SIZE, SIZE)
    return make_job(folder, plate, mask, sampling__seed=seed, sampling__steps=4)


if __name__ == "__main__":
    for row in measure():
        print(" | ".join(row), flush=True)
