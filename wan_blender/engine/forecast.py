# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory a run would take, and what passes over rows would save of its time, before its shot
is exported: sizes are known, and the mask where the editor has looked at it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..core import schema
from ..core.answers.report import Forecast
from ..core.errors import InvalidJob
from ..core.settings import Job
from ..masks.preview import MaskPreview
from ..schedule.stages import StagePlan, plan_stages
from .frames.region import Region, plan_region
from .models.bundle import Bundle, open_model
from .plan import fit_memory, plan_run_passes, tokens_of
from .report import describe_memory
from .sample.windows import Window, plan_windows


def forecast(text: str, held_gb: float = 0.0, mask: Path | None = None) -> Forecast:
    """The memory plan of the job in ``text``, JSON as in job.json, if its mask were everywhere on
    the shot's canvas; ``held_gb`` of the device are a warm engine's, which would run it. ``mask``
    is the file of a MaskPreview whose crop is that canvas: with it the answer also has "compute",
    what passes over rows would save. Opens models by their headers. Raises the WanError that
    running it would raise on such a shot."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidJob(f"The job is not valid JSON: {error}.") from error
    job = schema.from_dict(Job, data, "job")
    bundle, region, stages, windows = lay_out(job)
    kept, passes = 0, None
    if job.sampling.compute != "dense":
        kept = sum(tokens_of(region, windows))
    if mask is not None:
        latent = _on_grid(MaskPreview.load(mask).cells, region.grid.latent_shape)
        phases = ["original"] * (len(stages.sigmas) - 1)
        passes = plan_run_passes(job, bundle, latent, stages, windows, phases)
        kept = passes.kept_tokens if passes else 0
    machine, _, memory = fit_memory(
        job, bundle, region, stages, windows, kept_tokens=kept, elsewhere_gb=held_gb
    )
    size = (region.grid.padded_width, region.grid.padded_height, region.grid.padded_frames)
    compute = passes.describe() if passes else None
    return Forecast(size, describe_memory(machine, memory), compute)


def lay_out(job: Job) -> tuple[Bundle, Region, StagePlan, list[Window]]:
    """What decides a run's sizes, if its mask were everywhere on the shot's canvas. Raises the
    WanError that running it would raise."""
    bundle = open_model(job.model.path, job.model.device, job.model.dtype)
    canvas = (job.shot.width, job.shot.height)
    box = (0, 0, *canvas)
    region = plan_region(job.shot.frame_count, canvas, box, job.region, bundle.traits)
    stages = plan_stages(job.sampling, job.stages, bundle.traits.boundary)
    windows = plan_windows(region.grid.latent_shape[0], job.windows, bundle.traits.native_frames)
    return bundle, region, stages, windows


def _on_grid(cells: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """``cells`` without the padding to whole tokens -> a latent mask of ``shape``, padded."""
    latent = np.zeros(shape, np.float32)
    t, h, w = np.minimum(cells.shape, shape)
    latent[:t, :h, :w] = cells[:t, :h, :w]
    return latent
