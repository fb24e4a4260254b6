# SPDX-License-Identifier: GPL-3.0-or-later
"""report.json: what was run, on what, how long it took, and what was measured."""

from __future__ import annotations

import platform
from typing import Any

import diffusers
import torch

from ..core import job as jobs
from ..core import schema
from ..masks.notes import mask_notes
from ..schedule.advice import Finding, check_schedule
from .models.memory import Machine, MemoryPlan, refuse
from .plan import Plan
from .watch import Watch


def make_report(plan: Plan, watch: Watch) -> dict[str, Any]:
    bundle = plan.bundle
    report = {
        "schema": jobs.SCHEMA,
        "settings": schema.to_dict(plan.job),
        **describe_plan(plan),
        "seconds": {name: round(s, 3) for name, s in watch.seconds.items()},
        "peak_memory_gb": round(watch.peak_memory_gb, 3),
        "device": str(bundle.device),
        "dtype": str(bundle.dtype).removeprefix("torch."),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
        },
    }
    report["memory"]["measured_gb"] = round(watch.taken_gb, 3)
    if bundle.device.type == "cuda":
        report["peak_vram_gb"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
    return report


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Model, sizes, coverage and schedule: what ``check`` can say before any weights are read."""
    region, grid, extent = plan.region, plan.region.grid, plan.masks.extent
    t, h, w = grid.latent_shape
    return {
        "model": {
            "name": plan.bundle.name,
            "kind": plan.bundle.traits.kind,
            "revision": plan.bundle.revision,
            "fingerprint": plan.bundle.fingerprint,
            "notes": plan.weights_notes,
        },
        "shot": {"notes": plan.job.shot.notes},
        "size": {
            "box": [region.x, region.y, region.width, region.height],
            "model_pixels": [grid.padded_width, grid.padded_height],
            "model_frames": grid.padded_frames,
            "latents": [t, h, w],
            "tokens": t * (h // grid.patch) * (w // grid.patch),
            "windows": [[window.start, window.stop] for window in plan.windows],
        },
        "mask": {
            "pixels": round(extent.coverage, 6),
            "latent_cells": round(plan.masks.cells, 6),
            "frames": sum(box is not None for box in extent.boxes),
            "box": list(extent.box),
            "notes": mask_notes(
                extent.boxes,
                plan.masks.latent,
                plan.masks.strays,
                region,
                plan.job.mask,
                plan.job.shot.frame_start,
            )
            + plan.notes,
        },
        "schedule": {
            "sigmas": [round(sigma, 6) for sigma in plan.stages.sigmas],
            "findings": [finding.to_dict() for finding in check_plan(plan)],
        },
        "memory": describe_memory(plan.machine, plan.memory),
        **({"compute": plan.passes.describe()} if plan.passes else {}),
    }


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


def describe_memory(machine: Machine, memory: MemoryPlan) -> dict[str, Any]:
    """Predicted peak of the model's part of the memory, and what is free now."""
    return {
        "predicted_gb": round(memory.predicted_gb, 3),
        "free_gb": round(memory.free_gb, 3),
        "fits": memory.fits,
        "words": memory.words,
        "measures": memory.measures,
        "device": machine.name,
        "remedy": "" if memory.fits else refuse(memory).hint,
    }
