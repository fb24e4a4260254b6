# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job asks to have measured, and what of it goes into its result."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...core import job as jobs
from ...core.answers.insight import Decisions, Settledness
from ...hygiene.matrix import analyse
from ...hygiene.sinks import find_sinks
from ..frames.composite import matte_on_canvas
from ..frames.files import read_frame, to_mask, write_png
from ..frames.seams import ring_around
from ..plan import Plan
from .decisions import DecisionWatch
from .diagnosis import judge
from .settledness import RING, Regions, measure

MASK = "mask"
RING_PX = 24  # of the picture the model saw
CONTEXT_PX = 48  # around mask and ring, for the flow


def describe_settledness(plan: Plan, part: Path) -> Settledness | None:
    """Measured, with its maps in ``part``; None where the job does not ask for it.

    Measured at the size the model saw, where all detail it made is to be found. Each map is the
    picture of a frame with a pixel for each cell: gray is s, alpha is 0 where it cannot be said.
    """
    if not plan.job.insight.settledness:
        return None
    if len(plan.shot) < 2:
        said = ("Settledness: cannot say; it takes two frames, and the clip has one.",)
        return Settledness(1, (), 0.0, said)
    found, maps = measure(_frames(plan, part), plan.job.shot.frame_start)
    folder = part / jobs.SETTLEDNESS
    folder.mkdir(parents=True, exist_ok=True)
    for index, cells in enumerate(maps, 1):
        write_png(folder / jobs.frame_name(index), _picture(cells))
    return replace(found, box=_plate_box(plan))


def _frames(plan: Plan, part: Path) -> Iterator[tuple[np.ndarray, Regions]]:
    """What the result looks like, cut to the mask and what is near it, with its regions."""
    x0, y0, x1, y1 = _box(plan)
    for index in range(len(plan.shot)):
        plate = to_mask(plan.shot.plate(index))
        patch = read_frame(part / jobs.PATCH / jobs.picture_name(index, plan.job.shot))
        patch = to_mask(patch)
        alpha = patch[..., 3:]
        shown = alpha * patch[..., :3] + (1 - alpha) * plate[..., :3]
        matte = matte_on_canvas(plan.shot, plan.region, plan.masks, plan.job.output, index)
        mask = plan.region.crop(matte) > 0
        regions = {MASK: mask, RING: ring_around(mask, RING_PX)}
        cut = np.s_[y0:y1, x0:x1]
        yield plan.region.crop(shown)[cut], {name: area[cut] for name, area in regions.items()}


def _box(plan: Plan) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 in the picture the model saw: the mask on all frames and what is near it."""
    region, grid = plan.region, plan.region.grid
    spread = (grid.width / region.width, grid.height / region.height) * 2
    box = (
        (side - at) * scale
        for side, at, scale in zip(plan.masks.extent.box, (region.x, region.y) * 2, spread)
    )
    x0, y0, x1, y1 = (round(side) for side in box)
    near = RING_PX + CONTEXT_PX + plan.job.mask.grow_px
    return (
        max(x0 - near, 0),
        max(y0 - near, 0),
        min(x1 + near, grid.width),
        min(y1 + near, grid.height),
    )


def _plate_box(plan: Plan) -> tuple[int, int, int, int]:
    """x, y, width, height of what the maps cover, in plate pixels."""
    x0, y0, x1, y1 = _box(plan)
    region, grid = plan.region, plan.region.grid
    wide, high = region.width / grid.width, region.height / grid.height
    corner = (round(region.x + x0 * wide), round(region.y + y0 * high))
    return (*corner, round((x1 - x0) * wide), round((y1 - y0) * high))


def _picture(cells: np.ndarray) -> np.ndarray:
    """(rows, columns, 4) uint8 of a map of s with NaN."""
    known = np.isfinite(cells)
    grey = np.where(known, 255 * cells, 0).round().astype(np.uint8)
    return np.dstack([grey] * 3 + [(255 * known).astype(np.uint8)])


def describe_decisions(plan: Plan, watched: DecisionWatch | None, part: Path) -> Decisions | None:
    """What ``watched`` saw, judged, with its maps in ``part``; None where nothing watched.

    A map is the picture of a latent frame with a pixel for each cell. Red is how undecided it was
    at the hand-over (255 * 0.95 and above is flagged), green the noise level from which on it
    stays, blue the guidance gap over the largest one; alpha is 0 where it cannot be said."""
    if watched is None:
        return None
    found, maps = judge(watched.signals, _latent_regions(plan))
    folder = part / jobs.DECISIONS
    folder.mkdir(parents=True, exist_ok=True)
    gap = maps.gap / max(np.nanmax(maps.gap), 1e-9) if np.isfinite(maps.gap).any() else maps.gap
    planes = np.stack([maps.undecided, maps.settles, gap], -1)
    alpha = np.isfinite(maps.undecided)
    levels = np.nan_to_num(255 * planes).clip(0, 255).round().astype(np.uint8)
    for index, picture in enumerate(levels):
        shown = np.dstack([picture, (255 * alpha[index]).astype(np.uint8)])
        write_png(folder / jobs.frame_name(index), shown)
    return found


def _latent_regions(plan: Plan) -> dict[str, np.ndarray]:
    """Bool (t, h, w): what is generated, what is kept whole, and the sinks of the first frame."""
    latent = plan.masks.latent
    regions = {"mask": latent > 0, "plate": latent == 0}
    picture = plan.region.crop_padded(to_mask(plan.shot.plate(0)[..., :3]).clip(0, 1))
    cells = np.zeros(latent.shape[1:], bool)
    for sink in find_sinks(picture, analyse(picture)):
        x, y, width, height = (side / plan.region.grid.cell for side in sink.box)
        cells[int(y) : math.ceil(y + height), int(x) : math.ceil(x + width)] = True
    if cells.any():
        regions["sinks"] = np.broadcast_to(cells, latent.shape)
    return regions
