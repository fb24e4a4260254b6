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

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

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


def smoothed(
    frames: Iterable[tuple[np.ndarray, np.ndarray | None]], reach: int = SMOOTHING
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """(picture, value) pairs with each value replaced by a Gaussian mean over its neighbours in
    time. Holds ``2 reach + 1`` pictures at most; values that are None do not count."""
    waiting: deque = deque()
    emitted = 0
    seen = 0
    for item in frames:
        waiting.append((seen, *item))
        seen += 1
        if seen > emitted + reach:
            yield _emit(waiting, emitted, reach)
            emitted += 1
    while emitted < seen:
        yield _emit(waiting, emitted, reach)
        emitted += 1


def _emit(waiting: deque, number: int, reach: int) -> tuple[np.ndarray, np.ndarray | None]:
    while waiting[0][0] < number - reach:
        waiting.popleft()
    near = [
        (np.exp(-2 * ((i - number) / (reach + 1)) ** 2), v) for i, _, v in waiting if v is not None
    ]
    value = sum(w * v for w, v in near) / sum(w for w, _ in near) if near else None
    return next(picture for i, picture, _ in waiting if i == number), value


def add_grain(picture: np.ndarray, level: np.ndarray, seed: int) -> np.ndarray:
    """White noise of deviation ``level`` (3,), the same for the same seed."""
    noise = np.random.default_rng(seed).standard_normal(picture.shape).astype(np.float32)
    return picture + noise * level


class SeamMeter:
    """How visible the edge of the patch is, over all frames; it lies where the matte passes half
    of the frame's largest value.

    ``gradient_ratio`` compares steps across the edge in the result with the plate's own steps at
    the same places: 1 is invisible. ``colour_step`` is the difference of mean colours in narrow
    bands inside and outside, result against plate, in 0..1.
    """

    def __init__(self) -> None:
        self._steps = np.zeros(2)
        self._colours: list[float] = []

    def add(self, plate: np.ndarray, result: np.ndarray, alpha: np.ndarray) -> None:
        """Pictures (H, W, 3) in 0..1, matte (H, W)."""
        inside = alpha > alpha.max() / 2
        for axis in (0, 1):
            edge = np.diff(inside, axis=axis) != 0
            for i, picture in enumerate((result, plate)):
                self._steps[i] += np.abs(np.diff(picture, axis=axis))[edge].sum()
        bands = [ring_around(m, BAND_PX) for m in (inside, ~inside)]
        if all(band.any() for band in bands):
            outside, within = bands
            change = [p[within].mean(0) - p[outside].mean(0) for p in (result, plate)]
            self._colours.append(float(np.abs(change[0] - change[1]).mean()))

    def report(self) -> dict[str, float | None]:
        ratio = self._steps[0] / self._steps[1] if self._steps[1] > 0 else None
        step = float(np.mean(self._colours)) if self._colours else None
        return {
            "gradient_ratio": None if ratio is None else round(float(ratio), 4),
            "colour_step": None if step is None else round(step, 5),
        }
