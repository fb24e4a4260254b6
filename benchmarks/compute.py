# SPDX-License-Identifier: GPL-3.0-or-later
"""What passes over rows save, and what they cost in the picture.

Times are of calls on one thread at the proportions of the 14B model; errors are of the bundled
model, whose dense run in bfloat16 with another attention kernel is the floor they stand beside.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.engine.folders import make_job
from tools.train_nano.clips import draw_example
from wan_blender.core.settings import RegionSettings
from wan_blender.engine.conditioning import Scene
from wan_blender.engine.encode import encode_prompts, encode_source, make_conditions
from wan_blender.engine.fitting import Fitting
from wan_blender.engine.frames import vae as codec
from wan_blender.engine.frames.seams import SeamMeter
from wan_blender.engine.plan import make_plan
from wan_blender.engine.sample.partial import plan as planning
from wan_blender.engine.sample.partial.passes import Passes
from wan_blender.engine.sample.partial.plan import PassPlan
from wan_blender.engine.sample.partial.refresh import DENSE, FULL, ROWS
from wan_blender.engine.sample.stage_loop import StageLoop
from wan_blender.engine.watch import Watch
from wan_blender.masks.crop import ModelSizes, plan_crop

from .shapes import SCALED_14B, Shape, call_inputs, plan_run, random_model

CALLS, STEPS, SHARES, MODES = 5, 40, (0.10, 0.25, 0.50), ("balanced", "fast")
PLATE, CLIPS, SIDE, FRAMES, MASK = (832, 480), 4, 128, 17, 0.10
Row = tuple[str, str, str]


def measure() -> list[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [*_times(), *_errors(CLIPS, STEPS, SIDE, FRAMES)]
    finally:
        torch.set_num_threads(threads)


def _times(steps: int = STEPS) -> list[Row]:
    shape = SCALED_14B
    torch.manual_seed(0)
    model, rows = random_model(shape), []
    how = f"14B at 832x480, 81 frames, scaled to {shape.channels} channels, {shape.layers} layers"
    how += f", {steps} steps; medians of {CALLS} calls in turn, processor time of one thread"
    for share in SHARES:
        for mode in MODES:
            ratio, plan = _ratio(model, shape, shape, mode, share, steps)
            said = f"{ratio:.3f} (predicted {plan.predicted:.3f})"
            what = f"denoise, {mode} / dense, mask {plan.active_share:.0%} of the tokens"
            rows.append((what, said, f"{how}; rows {max(plan.rows) / plan.tokens:.0%}"))
    tokens, share = cropped(PLATE, MASK)
    crop = replace(shape, latents=_latents(round(tokens * shape.tokens), shape.latents))
    ratio, plan = _ratio(model, shape, crop, "fast", share, steps)
    said = f"{ratio:.3f} (predicted {plan.predicted:.3f} of the crop)"
    what = f"denoise, {MASK:.0%} mask on an 832x480 plate, crop and fast / dense full frame"
    return [*rows, (what, said, f"{how}; the crop has {tokens:.0%} of the tokens")]


@torch.no_grad()
def _ratio(
    model: Any, whole: Shape, shape: Shape, mode: str, share: float, steps: int
) -> tuple[float, PassPlan]:
    """Time of a run in ``mode`` over ``shape`` over that of a dense one over ``whole``: its passes
    by kind, each as long as such a call takes. A repeated step takes none."""
    plan = plan_run(shape, mode, share, steps)
    refresh, passes = plan.refresh(), Passes(plan)
    kinds = [refresh.kind(step) for step in range(steps)]
    dense, given = call_inputs(model, whole), call_inputs(model, shape)
    first = {kind: kinds.index(kind) for kind in (FULL, ROWS)}
    spent: dict[str, list[float]] = {DENSE: [], FULL: [], ROWS: []}
    passes.begin()
    for _ in range(CALLS):
        spent[DENSE].append(_seconds(lambda: model(**dense, return_dict=False)))
        for kind, step in first.items():
            passes.call(model, first[FULL])  # rows are due only after a full pass
            spent[kind].append(_seconds(lambda step=step: passes.call(model, step)(**given)))
    taken = {kind: statistics.median(seconds) for kind, seconds in spent.items()}
    total = sum(kinds.count(kind) * taken[kind] for kind in first)
    return total / (steps * taken[DENSE]), plan


def cropped(plate: tuple[int, int], mask: float) -> tuple[float, float]:
    """(tokens of the crop / tokens of the plate, share of the crop that is masked) for a mask in
    the middle that takes ``mask`` of the plate, in the plate's shape."""
    width, height = plate
    side = mask**0.5
    box = tuple(round(edge * (1 + sign * side) / 2) for sign in (-1, 1) for edge in plate)
    sizes = ModelSizes(8, 2, width * height)
    grid = plan_crop(81, plate, box, RegionSettings(), sizes).grid
    area = grid.padded_width * grid.padded_height / (width * height)
    return area, mask / area


def _latents(tokens: int, like: tuple[int, int, int]) -> tuple[int, int, int]:
    """Latents of one frame of about ``tokens`` tokens, with the proportions of ``like``."""
    high = max(1, round((tokens * like[1] / like[2]) ** 0.5))
    return (1, 2 * high, 2 * max(1, round(tokens / high)))


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


@dataclass(frozen=True)
class Outcome:
    """Of one take against the dense one: error in the mask, relative, and steps across the edge of
    the mask, as a ratio."""

    error: float
    seam: float


def _errors(clips: int, steps: int, side: int, frames: int) -> list[Row]:
    found: dict[str, list[Outcome]] = {name: [] for name in ("floor", *MODES)}
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, {"WAN_BLENDER_CACHE": f"{folder}/cache"}),
        mock.patch.object(planning, "WORTH", 0.0),  # on so small a grid rows hardly pay
    ):
        for seed in range(clips):
            for name, outcome in _compare(Path(folder), seed, steps, side, frames).items():
                found[name].append(outcome)
    floor = statistics.mean(outcome.error for outcome in found["floor"])
    how = f"bundled VACE, {side}x{side}, {frames} frames, {steps} steps, {MASK:.0%} mask"
    how += f", {clips} clips, means"
    rows = [("bf16 floor: relative error in the mask, dense, math / flash", f"{floor:.4f}", how)]
    for mode in MODES:
        error = statistics.mean(outcome.error for outcome in found[mode])
        seam = statistics.mean(outcome.seam for outcome in found[mode])
        rows += [
            (f"{mode}: error in the mask / bf16 floor", f"{error / floor:.2f} ({error:.4f})", how),
            (f"{mode}: seam ratio", f"{seam:.3f}", how),
        ]
    return rows


def _compare(folder: Path, seed: int, steps: int, side: int, frames: int) -> dict[str, Outcome]:
    """The take of one clip in every mode and at the floor, against its dense one."""

    def take(name: str, **settings: object) -> Take:
        return Take(_job(folder / f"{seed} {name}", seed, steps, side, frames, **settings))

    dense = take("dense")
    found = {mode: take(mode, sampling__compute=mode).against(dense) for mode in MODES}
    flash = take("flash", model__dtype="bfloat16")
    with sdpa_kernel(SDPBackend.MATH):
        return found | {"floor": take("math", model__dtype="bfloat16").against(flash)}


def _job(folder: Path, seed: int, steps: int, side: int, frames: int, **settings: object) -> Path:
    rng = np.random.default_rng(seed)
    example = draw_example(rng, frames, side, side)
    plate = (example.target * 255).round().astype(np.uint8)
    mask = np.zeros(plate.shape[:3], np.uint16)
    edge = round(side * MASK**0.5)
    top, left = rng.integers(side // 16, side - edge - side // 16, 2)
    mask[:, top : top + edge, left : left + edge] = 65535
    asked = {
        "prompt__text": example.caption,
        "sampling__steps": steps,
        "sampling__guidance": 3.0,
        "sampling__shift": 3.0,
        "region__mode": "whole",
    }
    return make_job(folder, plate, mask, **asked | settings)


class Take:
    """The latents and frames of a job, without what is written of it."""

    @torch.no_grad()
    def __init__(self, folder: Path) -> None:
        watch = Watch(folder)
        plan = make_plan(folder)
        with watch.phase("encoding"):
            scene = Scene(plan.shot, plan.region, plan.job.model_mask, watch.check)
            text = encode_prompts(plan.bundle, plan.job.prompt)
            source = encode_source(plan, scene, watch)
            conditions = make_conditions(plan, scene)
        with watch.phase("denoising", plan.steps):
            fitting = Fitting(plan, watch.loading)
            self.latents = StageLoop(plan, conditions, text, source, fitting, watch).run()
        self.free = (source.mask > 0).expand_as(self.latents)
        decoded = codec.decode(plan.bundle.vae, self.latents)
        self.frames = np.concatenate(list(decoded)) / 2 + 0.5
        self.mattes = [plan.shot.mask(index) for index in range(len(plan.shot))]

    def against(self, dense: Take) -> Outcome:
        difference = (self.latents - dense.latents)[self.free].norm()
        meter = SeamMeter()
        for frame, like, matte in zip(self.frames, dense.frames, self.mattes, strict=True):
            meter.add(like, frame, matte)
        error = float(difference / dense.latents[self.free].norm())
        return Outcome(error, meter.report().gradient_ratio)


if __name__ == "__main__":
    for row in measure():
        print(" | ".join(row), flush=True)
