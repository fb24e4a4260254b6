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
SAMPLES = 3000
CLIPPED = 0.98  # a brighter pixel does not tell how bright
FIELD_PX = 4  # pixels of the halved copy that share one value of the slow field


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
    channels, size = plate.shape[2], plate.shape[:2]
    # Halved, so that what interpolation softened is not taken for contrast.
    half = (max(1, size[1] // 2), max(1, size[0] // 2))
    plate, donor, where = (
        cv2.resize(p, half, interpolation=cv2.INTER_AREA).reshape(half[1], half[0], -1)
        for p in (plate, donor, where.astype(np.float32))
    )
    where = where[..., 0] > 0.99
    gain, offset = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    if where.sum() < 32:
        return Light(gain, offset, None, 1.0)
    x, y = donor[where], plate[where]
    step = max(1, len(x) // SAMPLES)
    x, y = x[::step], y[::step]
    good = unclipped = (x.max(1) < CLIPPED) & (y.max(1) < CLIPPED)
    if good.sum() < 32:
        return Light(gain, offset, None, 1.0)
    for _ in range(4):
        gain, offset = _fit(x[good], y[good])
        left = np.abs(y - x * gain - offset).max(1)
        good = (left < 3 * max(float(np.median(left)), 0.5 * LEVEL)) & unclipped
    if np.abs(gain - 1).max() < 0.006 and np.abs(x[good].mean(0) * (gain - 1) + offset).max() < (
        0.4 * LEVEL
    ):
        gain, offset = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    usual = max(float(np.median(left)), 0.5 * LEVEL)
    field = _slow_field(plate - donor * gain - offset, where, 3 * usual, size)
    return Light(gain, offset, field, float(np.median(left)))


def gap(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Mean absolute difference over the channels, (h, w)."""
    apart = cv2.absdiff(one, two).reshape(*one.shape[:2], -1)
    channels = apart.shape[2]
    if channels == 1:
        return apart[..., 0]
    return cv2.transform(apart, np.full((1, channels), 1 / channels, np.float32))


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


def _slow_field(difference: np.ndarray, where: np.ndarray, most: float, size) -> np.ndarray | None:
    """The smooth part of a difference below ``most``, continued over the whole part and
    enlarged to ``size`` (h, w); None when it is nothing."""
    height, width = where.shape
    small = (max(2, width // FIELD_PX), max(2, height // FIELD_PX))
    weight = (where & (np.abs(difference).max(2) < most)).astype(np.float32)
    share = cv2.resize(weight, small, interpolation=cv2.INTER_AREA)
    carried = cv2.resize(difference * weight[..., None], small, interpolation=cv2.INTER_AREA)
    share, carried = (cv2.GaussianBlur(p, (0, 0), 1.5) for p in (share, carried))
    mean = carried.reshape(*share.shape, -1) / np.maximum(share, 1e-4)[..., None]
    known = (share > 0.08).astype(np.float32)
    if not known.any() or np.abs(mean[known > 0]).max() < 0.6 * LEVEL:
        return None
    smooth = cv2.GaussianBlur(spread_in(mean, known), (0, 0), 1.0)
    return cv2.resize(smooth, size[::-1], interpolation=cv2.INTER_LINEAR).reshape(*size, -1)
