# SPDX-License-Identifier: GPL-3.0-or-later
"""Fine detail between two frames, region by region: what settledness is made of.

Energies are squared luma, planes being 0..1. No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ...hygiene.bands import split
from ..hygiene.measure.motion import FineChange, along_flow

CELL = 16  # pixels: side of a cell of the map
SEEN = 0.3  # share of a region that must be visible in both frames
FLOOR = (0.7 / 255) ** 2  # squared detail that rounding to 8 bits alone makes
STEADY_WAY = 0.25  # pixels that the way in a frame may change by and smear as much as before
SHUTTER = 1.5  # a shutter that is open all the time, and what estimates of its way are short of
SHEAR = 0.08  # pixels of way by which neighbours differ that do not move as one
AS_ONE = 41  # pixels that move as one, so that what crawls is not taken for what moves
SHARP = 1.0  # pixels of way in a frame that smear nothing
TAPS = 9  # most pictures that stand for an open shutter


@dataclass(frozen=True)
class Change:
    """Between two frames, (H, W) maps of squared luma: what changed, what of that rigid motion
    leaves, the detail of the frame and of the one before; where it can be judged (bool)."""

    change: np.ndarray
    rigid: np.ndarray
    fine: np.ndarray
    brought: np.ndarray
    noise: np.ndarray  # what is left of white noise whose energy was 1
    held: np.ndarray


@dataclass(frozen=True)
class Moment:
    """Means over one region between two frames; energies are squared luma, 0..1."""

    pixels: int
    visible: float  # share of it that is seen in both and can be judged
    change: float
    rigid: float
    fine: float  # of the frame
    brought: float  # of the one before
    noise: float  # squared change that is none of its own
    alike: float | None = None  # correlation, where too little is visible but all of it is there


@lru_cache(2)
def _grain(shape: tuple[int, int]) -> np.ndarray:
    bands = sum(split(np.random.default_rng(0).normal(size=shape).astype(np.float32), 2)[0])
    return bands / bands.std()


def compare(found: FineChange, flow_before: np.ndarray | None) -> Change:
    """An open shutter smears detail along its way, and more on one frame than on the next when the
    speed changes. There detail is judged as a shutter that is open all the time would leave it, at
    the highest speed that is near: what the shutter may have taken does not count."""
    fine, brought, rigid, noise = found.fine, found.brought, found.rigid, np.ones_like(found.fine)
    smear = _smear(found.flow, flow_before)
    longest = float(np.quantile(np.hypot(smear[..., 0], smear[..., 1]), 0.98))
    if longest > SHARP:
        bands = np.stack([fine, brought, rigid, _grain(fine.shape)], -1)
        bands = along_flow(bands, smear, int(min(np.ceil(longest), TAPS)))
        fine, brought, rigid, noise = np.moveaxis(bands, -1, 0)
    maps = ((brought - fine), (rigid - fine), fine, brought, noise)
    return Change(*(plane**2 for plane in maps), found.held & ~_shear(found.flow))


def _shear(flow: np.ndarray) -> np.ndarray:
    """Bool (H, W): where things pass each other, and a smooth flow is neither's own."""
    wide = cv2.GaussianBlur(flow, (0, 0), AS_ONE / 4)
    slopes = [slope for way in np.moveaxis(wide, -1, 0) for slope in np.gradient(way)]
    return np.sqrt(sum(slope**2 for slope in slopes)) > SHEAR


def _smear(flow: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """(H, W, 2): where the speed changes, the longest way of a pixel in one frame that this lets
    expect; 0 elsewhere."""
    if before is None:
        return np.zeros_like(flow)
    flow, before = (cv2.blur(way, (AS_ONE, AS_ONE)) for way in (flow, before))
    ways = np.stack([flow, before, 2 * flow - before])
    longest = np.hypot(ways[..., 0], ways[..., 1]).argmax(0)
    way = np.take_along_axis(ways, longest[None, ..., None], 0)[0]
    off = np.hypot(*np.moveaxis(flow - before, -1, 0))
    return way * np.clip((off - STEADY_WAY) / STEADY_WAY, 0, 1)[..., None] * SHUTTER


def noise_of(found: FineChange, ring: np.ndarray | None) -> float:
    """Squared change that the plate's frames have between them besides motion: the median over
    cells of the ring; without one, over the calmest tenth of all cells."""
    change, rigid = ((bands - found.fine) ** 2 for bands in (found.brought, found.rigid))
    share, excess = _cells(found.held, change - rigid)
    known = share > 0.5
    if ring is not None:
        inside = known & (_cell_mean(ring) > 0.25)
        if inside.sum() >= 4:
            return max(0.0, float(np.median(excess[inside])))
    return max(0.0, float(np.quantile(excess[known], 0.1))) if known.any() else 0.0


def _cells(held: np.ndarray, *planes: np.ndarray) -> tuple[np.ndarray, ...]:
    """The share of each cell that is held, and of each plane its mean over that."""
    share = _cell_mean(held)
    rest = (_cell_mean(np.where(held, plane, 0)) / np.maximum(share, 1e-6) for plane in planes)
    return share, *rest


def _cell_mean(plane: np.ndarray) -> np.ndarray:
    rows, columns = (-(-side // CELL) for side in plane.shape)
    return cv2.resize(plane.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)


def settled_cells(found: Change, noise: float) -> np.ndarray:
    """(rows, columns) of s, NaN where it cannot be said."""
    energy = (found.fine + found.brought) / 2
    share, excess, detail, left = _cells(
        found.held, found.change - found.rigid, energy, found.noise
    )
    noise = noise * left
    detail, floor = detail - noise / 2, np.maximum(FLOOR, noise / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = 1 - np.clip((excess - noise) / (2 * detail), 0, 1)
    return np.where((share >= SEEN) & (detail > floor), s, np.nan).astype(np.float32)


def moment_of(found: Change, noise: float, region: np.ndarray) -> Moment:
    held = region & found.held
    pixels = int(region.sum())
    if not held.any():
        return Moment(pixels, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    maps = (found.change, found.rigid, found.fine, found.brought, noise * found.noise)
    means = (float(plane[held].mean()) for plane in maps)
    return Moment(pixels, float(held.sum() / pixels), *means)
