# SPDX-License-Identifier: GPL-3.0-or-later
"""Small job folders with real frames for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wan_blender.core import job as jobs
from wan_blender.core.settings import Job, Prompt, Shot
from wan_blender.engine.frames.files import write_png
from wan_blender.light import exr


def moving_square(frames: int, height: int, width: int, size: int = 24, step: int = 4):
    """(T, H, W) uint16 masks: a square that moves to the right."""
    mask = np.zeros((frames, height, width), np.uint16)
    for i in range(frames):
        x = min(8 + step * i, width - size)
        mask[i, 16 : 16 + size, x : x + size] = 65535
    return mask


def noise_plate(frames: int, height: int, width: int, dtype=np.uint8, channels: int = 3):
    rng = np.random.default_rng(0)
    return rng.integers(
        0, np.iinfo(dtype).max, (frames, height, width, channels), dtype, endpoint=True
    )


def make_job(folder: Path, plate: np.ndarray, mask: np.ndarray, **settings) -> Path:
    """Write a job folder; ``settings`` are assigned by dotted name with __ for the dot. A float16
    plate holds linear light."""
    frames, height, width = plate.shape[:3]
    depth = 8 if plate.dtype == np.uint8 else 16
    peak = max(1.0, float(plate[..., :3].max())) if plate.dtype == np.float16 else 0.0
    shot = Shot("clip", "Scene", width, height, 24, 1, 1, frames, 1, depth, peak)
    job = Job(shot, Prompt("a red ball"))
    job.sampling.steps = 3
    for name, value in settings.items():
        group, field = name.split("__")
        setattr(getattr(job, group), field, value)
    for sub, stack in (("plate", plate), ("mask", mask)):
        (folder / sub).mkdir(parents=True, exist_ok=True)
        for i, frame in enumerate(stack):
            if frame.dtype == np.float16:
                planes = dict(zip("RGBA", np.moveaxis(frame, 2, 0)))
                exr.write(folder / sub / jobs.picture_name(i, shot), planes)
            else:
                write_png(folder / sub / jobs.frame_name(i), frame)
    return jobs.create(folder, job)
