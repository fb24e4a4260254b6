# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory a run would take, before its shot is exported: nothing but sizes is known."""

from __future__ import annotations

import json

from ..core import schema
from ..core.answers.report import Forecast
from ..core.errors import InvalidJob
from ..core.settings import Job
from ..schedule.stages import plan_stages
from .frames.region import plan_region
from .models.bundle import open_model
from .plan import fit_memory, tokens_of
from .report import describe_memory
from .sample.windows import plan_windows


def forecast(text: str, held_gb: float = 0.0) -> Forecast:
    """The memory plan of the job in ``text``, JSON as in job.json, if its mask were everywhere on
    the shot's canvas; ``held_gb`` of the device are a warm engine's, which would run it. Opens
    models by their headers. Raises the WanError that running it would raise on such a shot."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidJob(f"The job is not valid JSON: {error}.") from error
    job = schema.from_dict(Job, data, "job")
    bundle = open_model(job.model.path, job.model.device, job.model.dtype)
    canvas = (job.shot.width, job.shot.height)
    box = (0, 0, *canvas)
    region = plan_region(job.shot.frame_count, canvas, box, job.region, bundle.traits)
    stages = plan_stages(job.sampling, job.stages, bundle.traits.boundary)
    windows = plan_windows(region.grid.latent_shape[0], job.windows, bundle.traits.native_frames)
    kept = 0 if job.sampling.compute == "dense" else sum(tokens_of(region, windows))
    machine, _, memory = fit_memory(
        job, bundle, region, stages, windows, kept_tokens=kept, elsewhere_gb=held_gb
    )
    size = (region.grid.padded_width, region.grid.padded_height, region.grid.padded_frames)
    return Forecast(size, describe_memory(machine, memory))
