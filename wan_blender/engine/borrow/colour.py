# SPDX-License-Identifier: GPL-3.0-or-later
"""The donor's light made the frame's own: gain and offset, then what varies slowly over the place.

Both are read around the mask, where frame and donor show the same thing. What differs there by much
more than the rest (another layer, the object's shadow) does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .motion import spread_in

LEVEL = 1 / 255


@dataclass(frozen=True)
class Light:
    """picture * gain (C,) + offset (C,) + field (h, w, C) or None; colours in 0..1. ``error`` is
    the typical difference that is left around the mask, 0..1."""

    gain: np.ndarray
    offset: np.ndarray
    field: np.ndarray | None
    error: float

    @property
    def changes(self) -> bool:
        return bool((self.gain != 1).any() or (self.offset != 0).any() or self.field is not None)


def match_light(plate: np.ndarray, donor: np.ndarray, where: np.ndarray) -> Light:
    """From pictures (h, w, C) and the pixels ``where`` (h, w) both show the same place."""
    channels = plate.shape[2]
    gain, offset = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    if where.sum() < 32:
        return Light(gain, offset, None, 1.0)
    x, y = donor[where], plate[where]
    good = np.ones(len(x), bool)
    for _ in range(4):
        gain, offset = _fit(x[good], y[good])
        left = np.abs(y - x * gain - offset).max(1)
        good = left < 3 * max(float(np.median(left)), 0.5 * LEVEL)
    if np.abs(gain - 1).max() < 0.006 and np.abs(x[good].mean(0) * (gain - 1) + offset).max() < (
        0.4 * LEVEL
    ):
        gain, offset = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    field = _slow_field(plate - donor * gain - offset, where, good)
    return Light(gain, offset, field, float(np.median(left)))


def _fit(x: np.ndarray, y: np.ndarray):
    """Gain and offset per channel; where contrast is too small to tell, the gain is the ratio of
    the means."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    ratio = np.clip(y_mean / np.maximum(x_mean, LEVEL), 0.25, 4)
    variance = x.var(0)
    covariance = ((x - x_mean) * (y - y_mean)).mean(0)
    prior = (4 * LEVEL) ** 2
    gain = np.clip((covariance + prior * ratio) / (variance + prior), 0.2, 5)
    return gain.astype(np.float32), (y_mean - gain * x_mean).astype(np.float32)


def _slow_field(difference: np.ndarray, where: np.ndarray, good: np.ndarray) -> np.ndarray | None:
    """The smooth part of what is left, continued over the whole part; None when it is nothing."""
    weight = np.zeros(where.shape, np.float32)
    weight[where] = good
    sigma = max(2.0, min(where.shape) / 12)
    share = cv2.GaussianBlur(weight, (0, 0), sigma)
    carried = cv2.GaussianBlur(difference * weight[..., None], (0, 0), sigma)
    mean = carried / np.maximum(share, 1e-4)[..., None]
    known = (share > 0.08).astype(np.float32)
    if not known.any() or np.abs(mean[known > 0]).max() < 0.6 * LEVEL:
        return None
    smooth = spread_in(mean, known)
    return cv2.GaussianBlur(smooth, (0, 0), sigma)
