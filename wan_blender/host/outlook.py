# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of a run before it starts: its schedule and what practice advises against.

Computed here and now, in a few milliseconds, so that panels may ask while they draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy

from ..core.errors import InvalidJob, WanError
from ..core.settings import Job
from ..masks import crop
from ..model_info.names import is_distilled, is_of_lightx2v, telling_name
from ..model_info.traits import KINDS, ModelSizes, Traits
from ..schedule.advice import Finding, check_schedule
from ..schedule.stages import StagePlan, plan_stages
from ..timeline import shot, span
from . import mask_view, properties
from .library import library


@dataclass(frozen=True)
class Outlook:
    """``traits`` is None while the model was not looked at; then there are no findings. ``canvas``
    (width, height) and ``frames`` are what the model may see of the shot."""

    settings: Job
    traits: Traits | None
    plan: StagePlan
    findings: list[Finding]
    canvas: tuple[int, int]
    frames: int


def outlook(scene: bpy.types.Scene) -> Outlook:
    """The run that the settings of ``scene`` make. Raises InvalidJob."""
    settings = properties.read(scene)
    traits = read_traits(settings.model.path)
    plan = plan_stages(settings.sampling, settings.stages, traits.boundary if traits else None)
    canvas, frames = _see(scene)
    findings = _check(settings, traits, canvas, frames) if traits else []
    return Outlook(settings, traits, plan, findings, canvas, frames)


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
    was found, and for one model the same twice. What a LoRA is for is told by its width and its
    name; lightx2v's, made for four steps, come first."""
    model = library().model(path) or {}
    kind = KINDS.get(model.get("kind"))
    image = kind is not None and kind.takes_image
    fitting = [
        file
        for file in library().files("lora")
        if is_distilled(file["path"])
        and file["width"] == model.get("width")
        and ("i2v" in telling_name(file["path"]).lower()) == image
    ]

    fitting.sort(key=lambda file: not is_of_lightx2v(file["path"]))

    def best(*experts: str) -> str:
        return next((f["path"] for e in experts for f in fitting if f["expert"] == e), "")

    if model.get("boundary") is None:
        one = best("", "low", "high")  # the low-noise expert is what came of the older models
        return one, one
    return best("high", ""), best("low", "")


def _see(scene: bpy.types.Scene) -> tuple[tuple[int, int], int]:
    """(width, height) and frames of the part of the shot that the model would see at most. The
    canvas where the mask was not looked at, one frame where no shot is chosen."""
    canvas = shot.canvas_size(scene)
    try:
        plate = shot.find_plate(scene)
        frames = len(span.lay_out(scene, plate, properties.chosen_span(scene, plate.name)).frames)
    except WanError:
        return canvas, 1
    view = mask_view.view()
    if view.preview and not view.stale and (view.scene, view.plate) == (scene.name, plate.name):
        return (view.preview.crop.width, view.preview.crop.height), frames
    return canvas, frames


def _check(settings: Job, traits: Traits, canvas: tuple[int, int], frames: int) -> list[Finding]:
    sizes = ModelSizes(traits.cell, traits.patch, traits.native_pixels)
    grid = crop.plan_crop(frames, canvas, (0, 0, *canvas), settings.region, sizes).grid
    size = (grid.width, grid.height, grid.padded_frames)
    parts = (library().model(settings.model.path) or {}).get("parts", {})
    return check_schedule(settings, traits, *size, parts)
