# SPDX-License-Identifier: GPL-3.0-or-later
"""From the start of the engine on an exported job to the first denoise step, engine cold and warm,
and peak memory. ``generate.py`` measures what comes before, too."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.worker.test_worker import Engine
from wan_blender.core import protocol

RUNS = 3
FRAMES, SIZE = 21, 128


def measure() -> list[tuple[str, str, str]]:
    cold, warm, peaks = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for run in range(RUNS):
            cache = {"WAN_BLENDER_CACHE": str(Path(folder) / f"tensors-{run}")}
            began = time.perf_counter()
            with mock.patch.dict(os.environ, cache), Engine("serve") as engine:
                for times in (cold, warm):
                    job = _job(Path(folder) / f"{run}-{len(cold)}-{len(warm)}", seed=run)
                    engine.send(protocol.Run(str(job)))
                    first = _first_step(engine, began)
                    times.append(first)
                    done = engine.read_until(protocol.Done, protocol.Failed)
                    peaks.append(done.report.peak_memory_gb)
                    began = time.perf_counter()
    how = f"{FRAMES} frames {SIZE}x{SIZE}, bundled model, {RUNS} runs"
    return [
        (
            "exported job to first denoise step, cold engine",
            f"{statistics.median(cold):.1f} s",
            how,
        ),
        (
            "the same job again with another seed, engine warm",
            f"{statistics.median(warm):.1f} s",
            how,
        ),
        ("warm / cold", f"{statistics.median(w / c for w, c in zip(warm, cold)):.2f}", how),
        ("peak memory of the engine", f"{statistics.median(peaks):.2f} GiB", how),
    ]


def _job(folder: Path, seed: int) -> Path:
    return make_job(
        folder,
        noise_plate(FRAMES, SIZE, SIZE),
        moving_square(FRAMES, SIZE, SIZE),
        sampling__steps=2,
        sampling__seed=seed,
    )


def _first_step(engine: Engine, began: float) -> float:
    while True:
        message = engine.read_until(protocol.Progress, protocol.Failed)
        if message.phase == "denoising" and message.step == 1:
            return time.perf_counter() - began
