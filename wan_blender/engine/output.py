# SPDX-License-Identifier: GPL-3.0-or-later
"""Latents to files: decode, match, composite, write; then measure what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core import job as jobs
from ..core.mask_settings import Output
from .frames import vae as codec
from .frames.composite import difference_outside, matte_on_canvas, over, patch
from .frames.files import read_png, to_model, write_png
from .frames.seams import SeamMeter, add_grain, colour_offset, grain_level, ring_around, smoothed
from .plan import Plan
from .start_frame import delivered_start
from .watch import Watch

Measure = Callable[[Callable[[], None]], dict[str, Any]]


def write_frames(
    plan: Plan, latents: torch.Tensor, part: Path, tiled: bool, watch: Watch
) -> Measure:
    """Write patch/ (and frames/) into ``part``, frame by frame; ``tiled`` decodes in tiles.
    Returns the function that reads the files back and measures them."""
    for name in _folders(plan.job.output):
        (part / name).mkdir(parents=True, exist_ok=True)  # begun again when memory ran out
    for index, generated in enumerate(_matched(plan, latents, tiled)):
        plate = plan.shot.plate(index)
        alpha = matte_on_canvas(plan.shot, plan.region, plan.masks, plan.job.output, index)
        name = jobs.frame_name(index)
        write_png(part / jobs.PATCH / name, patch(plate, generated, alpha, plan.job.shot.alpha))
        if plan.job.output.full_frames:
            write_png(part / jobs.FRAMES / name, over(plate, generated, alpha, plan.job.shot.alpha))
        watch.step(index + 1)
    return lambda check: _measure(plan, part, check)


def _folders(output: Output) -> list[str]:
    return [jobs.PATCH, jobs.FRAMES] if output.full_frames else [jobs.PATCH]


def _matched(plan: Plan, latents: torch.Tensor, tiled: bool) -> Iterator[np.ndarray]:
    """The shot's frames as canvas pictures (H, W, 3) in [-1, 1], matched to the plate as the job
    asks."""
    frames = _on_canvas(plan, latents, tiled)
    if plan.job.output.colour_match:
        frames = _with_matched_colours(plan, frames)
    if plan.job.output.grain_match:
        frames = _with_matched_grain(plan, frames)
    return _with_start_frame(plan, frames)


def _with_start_frame(plan: Plan, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    start = delivered_start(plan)
    for index, picture in enumerate(frames):
        yield picture if index or start is None else start


def _on_canvas(plan: Plan, latents: torch.Tensor, tiled: bool) -> Iterator[np.ndarray]:
    """The plate with the decoded part over it. Only what is generated is decoded, and a margin
    for the ring in which colours and grain are read."""
    box = _generated_box(plan.masks.latent)
    window = plan.region.part(box)
    index = 0
    for chunk in codec.decode(plan.bundle.vae, latents, box, codec.TILE if tiled else 0):
        for generated in chunk[: len(plan.shot) - index]:
            picture = to_model(plan.shot.plate(index))
            decoded = np.zeros_like(picture)
            decoded[plan.region.window] = plan.region.restore(generated)
            picture[window] = decoded[window]
            index += 1
            yield picture


def _generated_box(latent: np.ndarray, margin: int = 4) -> tuple[int, int, int, int]:
    """y0, y1, x0, x1 in latent cells: all that is generated on any frame, and ``margin`` cells."""
    _, height, width = latent.shape
    ys = np.flatnonzero(latent.any((0, 2)))
    xs = np.flatnonzero(latent.any((0, 1)))
    return (
        max(int(ys[0]) - margin, 0),
        min(int(ys[-1]) + 1 + margin, height),
        max(int(xs[0]) - margin, 0),
        min(int(xs[-1]) + 1 + margin, width),
    )


def _rings(plan: Plan, index: int) -> np.ndarray:
    """The ring around the frame's mask, inside what was decoded."""
    inside = np.zeros((plan.shot.height, plan.shot.width), bool)
    inside[plan.region.part(_generated_box(plan.masks.latent))] = True
    return ring_around(plan.shot.mask(index)) & inside


def _with_matched_colours(plan: Plan, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    def measured():
        for index, picture in enumerate(frames):
            plate = to_model(plan.shot.plate(index))
            yield picture, colour_offset(plate, picture, _rings(plan, index))

    for picture, offset in smoothed(measured()):
        yield picture if offset is None else np.clip(picture + offset, -1, 1).astype(np.float32)


def _with_matched_grain(plan: Plan, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    def measured():
        for index, picture in enumerate(frames):
            ring = _rings(plan, index)
            wanted = grain_level(to_model(plan.shot.plate(index)), ring)
            present = grain_level(picture, ring)
            missing = None
            if wanted is not None and present is not None:
                missing = np.sqrt(np.maximum(wanted**2 - present**2, 0))
            yield picture, missing

    seed = plan.job.sampling.seed
    for index, (picture, level) in enumerate(smoothed(measured())):
        yield picture if level is None else add_grain(picture, level, seed + index)


def _measure(plan: Plan, part: Path, check: Callable[[], None]) -> dict[str, Any]:
    """Read every written frame back: 0 difference outside is a fact, not a promise."""
    worst, seam = 0, SeamMeter()
    for index in range(len(plan.shot)):
        check()
        plate = plan.shot.plate(index)
        alpha = matte_on_canvas(plan.shot, plan.region, plan.masks, plan.job.output, index)
        files = [
            read_png(part / name / jobs.frame_name(index)) for name in _folders(plan.job.output)
        ]
        worst = max(worst, difference_outside(plate, alpha, files))
        peak = np.iinfo(plate.dtype).max
        written = files[0][..., 3:].astype(np.float32) / peak
        shown = written * files[0][..., :3] + (1 - written) * plate[..., :3]
        seam.add(plate[..., :3] / peak, shown / peak, alpha)
    return {"max_diff_outside": worst, "seam": seam.report()}
