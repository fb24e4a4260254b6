# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge between patch and plate: matched colours and grain, and how visible it is.

Colours and grain are read in a ring just outside the mask and smoothed over time so that nothing
flickers. Most of the ring is the plate, encoded and decoded again: it shows what the codec changes.
The cells that the mask's edge runs through, and as far as the mask was grown for the sampler, are
generated: they show what the model changes, and also what it made there that is not on the plate.
So the colour is a median: what reaches into less than half of the ring does not count. The grain is
a median too, of what is finer than edges; a smooth thing in the ring lowers it by its share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from ...core.answers.report import Cut, SeamReport
from ...masks.crop import bounds

RING_PX = 16
SMOOTHING = 6  # frames to each side
BAND_PX = 4


def ring_around(mask: np.ndarray, pixels: int = RING_PX) -> np.ndarray:
    """Boolean (H, W): unmasked pixels within ``pixels`` of the mask."""
    masked = (mask > 0).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1,) * 2)
    return (cv2.dilate(masked, kernel) > 0) & (masked == 0)


def colour_offset(plate: np.ndarray, decoded: np.ndarray, ring: np.ndarray) -> np.ndarray | None:
    """Median plate - decoded (3,) over the ring, or None when there is no ring to speak of."""
    if ring.sum() < 32:
        return None
    return np.median(plate[ring] - decoded[ring], 0)


def grain_level(picture: np.ndarray, where: np.ndarray) -> np.ndarray | None:
    """Standard deviation (3,) of what is finer than about 2 pixels, robust against edges
    (median absolute deviation)."""
    if where.sum() < 64:
        return None
    fine = (picture - cv2.GaussianBlur(picture, (0, 0), 1.0))[where]
    return np.median(np.abs(fine), 0) * 1.4826 / FINE_SHARE


def _fine_share() -> float:
    """What ``grain_level`` measures on white noise of deviation 1, before this correction."""
    kernel = cv2.getGaussianKernel(9, 1.0)
    kernel = kernel @ kernel.T
    centre = kernel[4, 4]
    return float(np.sqrt((kernel**2).sum() - centre**2 + (1 - centre) ** 2))


FINE_SHARE = _fine_share()


def mean_near(
    values: Mapping[int, np.ndarray | None], index: int, reach: int = SMOOTHING
) -> np.ndarray | None:
    """Gaussian mean of the values of the frames up to ``reach`` away from ``index``; those that are
    None do not count."""
    near = [
        (np.exp(-2 * ((i - index) / (reach + 1)) ** 2), value)
        for i, value in values.items()
        if value is not None and abs(i - index) <= reach
    ]
    return sum(w * v for w, v in near) / sum(w for w, _ in near) if near else None


def add_grain(picture: np.ndarray, level: np.ndarray, seed: int) -> np.ndarray:
    """White noise of deviation ``level`` (3,), the same for the same seed."""
    noise = np.random.default_rng(seed).standard_normal(picture.shape, np.float32)
    noise *= level.astype(np.float32)
    noise += picture
    return noise


class Seam(NamedTuple):
    """Of one frame: summed steps across the patch's edge in result and plate, and the difference of
    colours, None where nothing lies on one of its sides."""

    steps: np.ndarray
    colour: float | None


def measure_seam(plate: np.ndarray, result: np.ndarray, alpha: np.ndarray) -> Seam:
    """Pictures (H, W, 3) in 0..1, matte (H, W); the edge is where the matte passes half of its
    largest value."""
    inside = alpha > alpha.max() / 2
    box = bounds(inside)
    steps = np.zeros(2)
    if box is None:
        return Seam(steps, None)
    x0, y0, x1, y1 = box
    near = np.s_[max(y0 - BAND_PX, 0) : y1 + BAND_PX, max(x0 - BAND_PX, 0) : x1 + BAND_PX]
    plate, result, inside = plate[near], result[near], inside[near]
    for axis in (0, 1):
        edge = np.diff(inside, axis=axis) != 0
        for i, picture in enumerate((result, plate)):
            steps[i] += np.abs(np.diff(picture, axis=axis)[edge]).sum(dtype=np.float64)
    bands = [ring_around(m, BAND_PX) for m in (inside, ~inside)]
    if not all(band.any() for band in bands):
        return Seam(steps, None)
    outside, within = bands
    change = [
        p[within].mean(0, dtype=np.float64) - p[outside].mean(0, dtype=np.float64)
        for p in (result, plate)
    ]
    return Seam(steps, float(np.abs(change[0] - change[1]).mean()))


@dataclass(frozen=True)
class Measured:
    """What is measured of a result's files; named as in the report."""

    max_diff_outside: float
    seam: SeamReport
    cuts: tuple[Cut, ...] = ()


class SeamMeter:
    """How visible the edge of the patch is, over all frames.

    ``gradient_ratio`` compares steps across the edge in the result with the plate's own steps at
    the same places: 1 is invisible. ``colour_step`` is the difference of mean colours in narrow
    bands inside and outside, result against plate, in 0..1.
    """

    def __init__(self) -> None:
        self._steps = np.zeros(2)
        self._colours: list[float] = []

    def add(self, plate: np.ndarray, result: np.ndarray, alpha: np.ndarray) -> None:
        """As ``measure_seam``."""
        self.take(measure_seam(plate, result, alpha))

    def take(self, seam: Seam) -> None:
        self._steps += seam.steps
        if seam.colour is not None:
            self._colours.append(seam.colour)

    def report(self) -> SeamReport:
        ratio = self._steps[0] / self._steps[1] if self._steps[1] > 0 else None
        step = float(np.mean(self._colours)) if self._colours else None
        return SeamReport(
            gradient_ratio=None if ratio is None else round(float(ratio), 4),
            colour_step=None if step is None else round(step, 5),
        )
