# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of a run before it starts: its schedule, what practice advises against, the
memory that it would take, and what passes over the mask alone would save.

The schedule is worked out at once, in a few milliseconds, so that panels may ask while they draw.
The rest is asked of the engine in a child process once the settings have settled; what came back is
kept for the same settings.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from ..core import schema
from ..core.answers.report import Finding, Forecast
from ..core.errors import Cancelled, InvalidJob, WanError
from ..core.settings import Job
from ..masks import crop
from ..masks.preview import MaskPreview
from ..model_info.traits import ModelSizes, Traits
from ..process.call import EngineCall
from ..process.task import Task
from ..schedule.advice import check_schedule
from ..schedule.stages import StagePlan, plan_stages
from ..timeline import shot, span
from . import properties, pump
from .library import Library
from .mask_view import MaskView

QUIET_S = 0.8  # after the last change of a setting that matters


@dataclass(frozen=True)
class Outlook:
    """``traits`` is None until the model has been read; then there are no findings. ``canvas``
    (width, height) and ``frames`` are what the model may see of the shot, ``mask`` what it would
    generate there, None until the mask was analysed."""

    settings: Job
    traits: Traits | None
    plan: StagePlan
    findings: list[Finding]
    canvas: tuple[int, int]
    frames: int
    mask: MaskPreview | None = None


class Estimate(Task):
    """``forecast`` is what the engine says of the settings asked for last, None while it is
    not known; ``error`` what kept it from being known. ``held_gb`` tells what the engine holds of
    the device's memory for its next job."""

    def __init__(
        self,
        find_python: Callable[[], Path],
        library: Library,
        mask_view: MaskView,
        held_gb: Callable[[], float],
    ) -> None:
        self.forecast: Forecast | None = None
        self._find_python, self._library, self._mask_view = find_python, library, mask_view
        self._held_gb = held_gb
        self._wanted, self._asked = "", ""
        self._mask: MaskPreview | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None  # what is asked about
        self._since = 0.0
        self._call: EngineCall | None = None

    # -- at once

    def outlook(self, scene: bpy.types.Scene) -> Outlook:
        """The run that the settings of ``scene`` make. Raises InvalidJob."""
        settings = properties.read(scene)
        traits = self._library.traits(settings.model.path)
        plan = plan_stages(settings.sampling, settings.stages, traits.boundary if traits else None)
        canvas, frames, mask = self._see(scene)
        findings = self._check(settings, traits, canvas, frames) if traits else []
        return Outlook(settings, traits, plan, findings, canvas, frames, mask)

    def fix_of(self, scene: bpy.types.Scene, rule: str) -> dict[str, Any]:
        """Settings that cure the finding ``rule``. Raises InvalidJob when it is not there."""
        for finding in self.outlook(scene).findings:
            if finding.rule == rule and finding.fix:
                return finding.fix
        raise InvalidJob(f"There is nothing to fix about {rule!r} any more.")

    def _see(self, scene: bpy.types.Scene) -> tuple[tuple[int, int], int, MaskPreview | None]:
        """(width, height) and frames of the part of the shot that the model would see at most, and
        its mask. The canvas where that was not analysed, one frame where no shot is chosen."""
        canvas, view = shot.canvas_size(scene), self._mask_view
        try:
            plate = shot.find_plate(scene)
            chosen = properties.chosen_span(scene, plate.name)
            frames = len(span.lay_out(scene, plate, chosen).frames)
        except WanError:
            return canvas, 1, None
        if view.preview and not view.stale and (view.scene, view.plate) == (scene.name, plate.name):
            crop = view.preview.crop
            return (crop.width, crop.height), frames, view.preview
        return canvas, frames, None

    def _check(
        self, settings: Job, traits: Traits, canvas: tuple[int, int], frames: int
    ) -> list[Finding]:
        sizes = ModelSizes(traits.cell, traits.patch, traits.native_pixels)
        grid = crop.plan_crop(frames, canvas, (0, 0, *canvas), settings.region, sizes).grid
        size = (grid.width, grid.height, grid.padded_frames)
        model = self._library.model(settings.model.path)
        return check_schedule(settings, traits, *size, model.parts if model else {})

    # -- asked of the engine

    def ask(self, view: Outlook) -> None:
        """Have the memory of this run predicted; at once where it is known. Never blocks."""
        mask = view.mask if computes_rows(view.settings) else None
        wanted = _describe(view)
        if wanted == self._wanted and mask is self._mask:
            return
        self._wanted, self._mask, self._since = wanted, mask, time.monotonic()
        self._asked = ""
        self.forecast = self.error = None
        if self._call:
            self._call.cancel()  # nobody waits for its answer any more
        pump.follow(self)

    @property
    def running(self) -> bool:
        """Whether an answer is still to come."""
        return self._call is not None or self._asked != self._wanted

    def tick(self) -> bool:
        if self._call:
            if not self._call.finished:
                return False
            call, self._call = self._call, None
            if self._asked == self._wanted:
                self._take(call)
                return True
        if self._asked != self._wanted and time.monotonic() - self._since >= QUIET_S:
            self._asked = self._wanted
            try:
                told = [f"--held={self._held_gb():.3f}", *self._write_mask()]
                self._call = EngineCall(self._find_python(), "forecast", *told, self._wanted)
            except WanError as error:
                self.error = error
                return True
        return False

    def _write_mask(self) -> list[str]:
        """The argument that shows the engine the mask."""
        if self._mask is None:
            return []
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="wan_mask")
        file = Path(self._folder.name) / "mask.npz"
        self._mask.save(file)
        return [f"--mask={file}"]

    def wait(self) -> None:
        self._since = 0.0
        super().wait()

    def close(self) -> None:
        self._asked = self._wanted
        if self._call:
            self._call.kill()
            self._call = None
        if self._folder:
            self._folder.cleanup()
            self._folder = None

    def _take(self, call: EngineCall) -> None:
        try:
            self.forecast = call.answer(Forecast)
        except Cancelled:
            pass
        except WanError as error:
            self.error = error


def computes_rows(settings: Job) -> bool:
    """Whether a run would leave tokens or steps out where it may."""
    return settings.sampling.compute != "dense" or settings.sampling.reuse > 0


def _describe(view: Outlook) -> str:
    """The job as JSON, with only what the answer depends on."""
    everything = schema.to_dict(view.settings)
    kept = {name: everything[name] for name in ("model", "windows", "region", "loras", "stages")}
    width, height = view.canvas
    shot = {"width": width, "height": height, "frame_count": view.frames, "fps_num": 24}
    sampling = {name: everything["sampling"][name] for name in ("guidance", "compute")}
    if view.mask and computes_rows(view.settings):
        sampling = {k: v for k, v in everything["sampling"].items() if k != "seed"}
        kept["mask"] = {name: everything["mask"][name] for name in ("law", "softness")}
    return json.dumps({"shot": shot, "sampling": sampling, **kept})
