# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's answers: its ``Report`` (core/answers/report.py) from its plan and what it took."""

from __future__ import annotations

import platform
from dataclasses import replace

import diffusers
import torch

from ..core import job as jobs
from ..core import schema
from ..core.answers.report import (
    Finding,
    MaskFound,
    Memory,
    ModelUsed,
    Report,
    Schedule,
    SeenSize,
    ShotNotes,
    Versions,
)
from ..masks.notes import mask_notes
from ..schedule.advice import check_schedule
from .fitting import Fitting
from .models.memory import Machine, MemoryPlan, refuse
from .plan import Plan
from .watch import Watch


def make_report(plan: Plan, fitting: Fitting, watch: Watch) -> Report:
    """What was run, on what and how long; what was measured of the result is still missing."""
    bundle, report = plan.bundle, describe_plan(plan)
    is_cuda = bundle.device.type == "cuda"
    return replace(
        report,
        memory=replace(
            report.memory,
            measures=tuple(fitting.memory.measures),
            measures_taken=fitting.measures,
            measured_gb=round(watch.taken_gb, 3),
        ),
        compute=fitting.passes.describe() if plan.passes else None,
        speed=fitting.switched,
        loras_skipped=fitting.models.skipped,
        seconds={name: round(s, 3) for name, s in watch.seconds.items()},
        peak_memory_gb=round(watch.peak_memory_gb, 3),
        peak_vram_gb=round(torch.cuda.max_memory_allocated() / 2**30, 3) if is_cuda else None,
        device=str(bundle.device),
        dtype=str(bundle.dtype).removeprefix("torch."),
        versions=Versions(platform.python_version(), torch.__version__, diffusers.__version__),
    )


def describe_plan(plan: Plan) -> Report:
    """Model, sizes, coverage and schedule: what ``check`` can say before any weights are read."""
    return Report(
        schema=jobs.SCHEMA,
        settings=schema.to_dict(plan.job),
        model=ModelUsed(
            plan.bundle.name,
            plan.bundle.traits.kind,
            plan.bundle.revision,
            plan.bundle.fingerprint,
            tuple(plan.weights_notes),
        ),
        shot=ShotNotes(tuple(plan.job.shot.notes)),
        size=_size(plan),
        mask=_mask(plan),
        schedule=Schedule(
            tuple(round(sigma, 6) for sigma in plan.stages.sigmas), tuple(check_plan(plan))
        ),
        memory=describe_memory(plan.machine, plan.memory),
        compute=plan.passes.describe() if plan.passes else None,
    )


def _size(plan: Plan) -> SeenSize:
    region, grid = plan.region, plan.region.grid
    t, h, w = grid.latent_shape
    return SeenSize(
        box=(region.x, region.y, region.width, region.height),
        model_pixels=(grid.padded_width, grid.padded_height),
        model_frames=grid.padded_frames,
        latents=(t, h, w),
        tokens=t * (h // grid.patch) * (w // grid.patch),
        windows=tuple((window.start, window.stop) for window in plan.windows),
    )


def _mask(plan: Plan) -> MaskFound:
    extent, masks, job = plan.masks.extent, plan.masks, plan.job
    notes = mask_notes(
        extent.boxes, masks.latent, masks.strays, plan.region, job.mask, job.shot.frame_start
    )
    return MaskFound(
        pixels=round(extent.coverage, 6),
        box=extent.box,
        latent_cells=round(masks.cells, 6),
        frames=sum(box is not None for box in extent.boxes),
        notes=(*notes, *plan.notes),
    )


def check_plan(plan: Plan) -> list[Finding]:
    grid = plan.region.grid
    return check_schedule(
        plan.job,
        plan.bundle.traits,
        grid.width,
        grid.height,
        grid.padded_frames,
        {expert.part.name: list(map(str, expert.part.files)) for expert in plan.bundle.experts},
    )


def describe_memory(machine: Machine, memory: MemoryPlan) -> Memory:
    """Predicted peak of the model's part of the memory, and what is free now."""
    return Memory(
        predicted_gb=round(memory.predicted_gb, 3),
        free_gb=round(memory.free_gb, 3),
        fits=memory.fits,
        words=memory.words,
        measures=tuple(memory.measures),
        device=machine.name,
        remedy="" if memory.fits else refuse(memory).hint,
    )
