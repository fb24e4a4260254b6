# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a region's motion is no plane's: a smooth field of displacements, from dense optical flow
(cv2.DISOpticalFlow) between the reference frame and the picture as its plane motion brings it back.
"""

from __future__ import annotations

import cv2
import numpy as np

from .region import Region

SMOOTH = 0.06  # of the region's size: over which displacements are averaged
LIKE = 0.5  # correlation from which on the pictures around a pixel agree
WINDOW_PX = 11
FLAT = 2.0  # standard deviation, of 255, below which there is nothing to compare
Field = np.ndarray  # (h, w, 2) float32, pixels


class Softener:
    """Finds displacements for one region, each from the one before."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._sigma = max(2.0, SMOOTH * np.sqrt(region.inside.sum()))
        ys, xs = np.indices(region.gray.shape, np.float32)
        self._grid = np.stack([xs, ys], 2)

    def find(self, seen: np.ndarray, guess: Field) -> Field:
        """The displacement of each pixel of the region in ``seen``, the picture in its shape."""
        start = np.ascontiguousarray(guess, np.float32)
        flow = self._flow.calc(self._region.gray, seen, start.copy())
        good = self._region.inside & (similarity(self._region, self.displaced(seen, flow)) > LIKE)
        if good.sum() < 0.1 * self._region.inside.sum():
            return guess
        return smooth_in(flow, good, self._sigma, guess)

    def displaced(self, seen: np.ndarray, field: Field) -> np.ndarray:
        """``seen`` as the field brings it back onto the region."""
        return cv2.remap(
            seen, self._grid + field, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )


def smooth_in(field: Field, good: np.ndarray, sigma: float, otherwise: Field) -> Field:
    """Means of ``field`` where it is ``good``, weighted by a Gaussian; far from that the mean of
    all, near it a little of ``otherwise``."""
    weight = good.astype(np.float32)
    mean = field[good].mean(0)
    near = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    summed = cv2.GaussianBlur((field - mean) * weight[..., None], (0, 0), sigma)
    return (mean + summed / np.maximum(near, 1e-3)).astype(np.float32)


def similarity(region: Region, seen: np.ndarray) -> np.ndarray:
    """(h, w) correlation of the two pictures in a window around each pixel, -1..1; 1 where both are
    flat and of like brightness."""
    a, b = region.gray.astype(np.float32), seen.astype(np.float32)
    size = (WINDOW_PX, WINDOW_PX)

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, size)

    mean_a, mean_b = mean(a), mean(b)
    var_a = np.maximum(mean(a * a) - mean_a**2, 0)
    var_b = np.maximum(mean(b * b) - mean_b**2, 0)
    shared = mean(a * b) - mean_a * mean_b
    like = shared / np.sqrt(np.maximum(var_a * var_b, 1e-6))
    flat = (var_a < FLAT**2) & (var_b < FLAT**2)
    return np.where(flat, (abs(mean_a - mean_b) < 12).astype(np.float32), like)


def sample(field: Field, points: np.ndarray) -> np.ndarray:
    """The field at points (n, 2) of the region; beyond its edge that of the edge."""
    places = np.ascontiguousarray(points, np.float32).reshape(-1, 1, 2)
    moved = cv2.remap(field, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return moved.reshape(-1, 2).astype(float)
