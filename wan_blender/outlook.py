# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of a run before it starts: its schedule and what practice advises against.

Computed here and now, within a millisecond, so that panels may ask while they draw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from . import crop, job, properties
from .errors import InvalidJob, WanError
from .library import library
from .schedule_check import Finding, check_schedule, is_distilled
from .stages import StagePlan, plan_stages
from .timeline import shot, span
from .traits import Traits


@dataclass(frozen=True)
class Outlook:
    """``traits`` is None while the model was not looked at; then there are no findings."""

    settings: job.Job
    traits: Traits | None
    plan: StagePlan
    findings: list[Finding]


def outlook(scene: bpy.types.Scene) -> Outlook:
    """The run that the settings of ``scene`` make. Raises InvalidJob."""
    settings = properties.read(scene)
    traits = read_traits(settings.model.path)
    plan = plan_stages(settings.sampling, settings.stages, traits.boundary if traits else None)
    findings = _check(scene, settings, traits) if traits else []
    return Outlook(settings, traits, plan, findings)


def read_traits(path: str) -> Traits | None:
    """Of the model at ``path``, when it was looked at."""
    model = library().model(path)
    return Traits(**model["traits"]) if model and model["traits"] else None


def fix_of(scene: bpy.types.Scene, rule: str) -> dict[str, Any]:
    """Settings that cure the finding ``rule``. Raises InvalidJob when it is not there."""
    for finding in outlook(scene).findings:
        if finding.rule == rule and finding.fix:
            return finding.fix
    raise InvalidJob(f"There is nothing to fix about {rule!r} any more.")


def fast_loras(path: str) -> tuple[str, str]:
    """Step-distill LoRAs that fit the model at ``path``, for high and low noise; "" where none
    was found. What a LoRA is for is told by its width and its name."""
    model = library().model(path) or {}
    image = model.get("kind") in ("i2v", "flf2v")
    fitting = [
        file
        for file in library().files("lora")
        if is_distilled(file["path"])
        and file["width"] == model.get("width")
        and ("i2v" in Path(file["path"]).name.lower()) == image
    ]

    def best(expert: str) -> str:
        wanted = [expert, ""] if model.get("boundary") is not None else ["", expert]
        return next((f["path"] for w in wanted for f in fitting if f["expert"] == w), "")

    return best("high"), best("low")


def _check(scene: bpy.types.Scene, settings: job.Job, traits: Traits) -> list[Finding]:
    """Findings on the selected shot, as if its mask were everywhere; without a shot, on the
    canvas."""
    try:
        plate = shot.find_plate(scene)
        chosen = properties.chosen_span(scene, plate.name)
        frames = len(span.lay_out(scene, plate, chosen).frames)
    except WanError:
        frames = 1
    width, height = shot.canvas_size(scene)
    sizes = crop.ModelSizes(traits.cell, traits.patch, traits.native_pixels)
    box = (0, 0, width, height)
    grid = crop.plan_crop(frames, (width, height), box, settings.region, sizes).grid
    longest = settings.windows.frames
    return check_schedule(
        settings,
        traits,
        grid.padded_width,
        grid.padded_height,
        grid.padded_frames,
        windowed=0 < longest < grid.padded_frames,
    )
