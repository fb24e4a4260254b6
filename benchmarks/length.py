# SPDX-License-Identifier: GPL-3.0-or-later
"""Long shots: what 1000 frames need of memory, against 81, each in an engine of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.worker.test_worker import Engine
from wan_blender.core import protocol

SHORT, LONG, SIZE = 81, 1000, 48


def measure() -> list[tuple[str, str, str]]:
    short, long = (_peak_gb(frames) for frames in (SHORT, LONG))
    how = f"{SIZE}x{SIZE}, 1 step, the bundled model in windows of 17 frames, 1 run each"
    return [
        ("peak memory, 1000 frames / 81 frames", f"{long / short:.2f}", how),
        ("peak memory, 1000 frames", f"{long:.2f} GiB", how),
    ]


def _peak_gb(frames: int) -> float:
    with tempfile.TemporaryDirectory() as folder, Engine("serve") as engine:
        job = make_job(
            Path(folder),
            noise_plate(frames, SIZE, SIZE),
            moving_square(frames, SIZE, SIZE),
            sampling__steps=1,
            region__mode="whole",
        )
        engine.send(protocol.Run(str(job)))
        done = engine.read_until(protocol.Done, protocol.Failed)
        return done.report.peak_memory_gb
