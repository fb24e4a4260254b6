# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a reference frame that is followed: its pixels, its outline's inside, its features.

Coordinates of a region are pixels of its own crop; ``origin`` is the crop's upper left pixel in the
picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...masks.outline import flatten

SUBPIXEL_BITS = 4
MARGIN_PX = 8  # of the crop around the outline
EDGE_PX = 2  # features may lie as far outside: the outline itself is one
MOST_FEATURES = 300
FEATURE_PX = 4  # between two features
QUALITY = 0.01  # of the best feature
SMOOTHING_PX = 1.0  # before pictures are compared


@dataclass(frozen=True)
class Region:
    """``gray`` (h, w) uint8, ``inside`` (h, w) bool, ``features`` (n, 1, 2) float32."""

    gray: np.ndarray
    inside: np.ndarray
    features: np.ndarray
    origin: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        return self.gray.shape[1], self.gray.shape[0]


def fill(splines: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: pixels of a picture of ``size`` (width, height) whose middle is inside of an odd
    number of outlines."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    lines = [flatten(spline) - 0.5 for spline in splines]  # OpenCV has pixels' middles at integers
    rounded = [np.rint(line * (1 << SUBPIXEL_BITS)).astype(np.int32) for line in lines]
    cv2.fillPoly(mask, rounded, 1, shift=SUBPIXEL_BITS)
    return mask.astype(bool)


def cut_region(gray: np.ndarray, splines: list[np.ndarray]) -> Region | None:
    """The region of outlines in a picture (H, W) uint8; None where they hold nothing of it."""
    inside = fill(splines, (gray.shape[1], gray.shape[0]))
    if not inside.any():
        return None
    x, y, width, height = cv2.boundingRect(inside.astype(np.uint8))
    x0, y0 = max(x - MARGIN_PX, 0), max(y - MARGIN_PX, 0)
    x1 = min(x + width + MARGIN_PX, gray.shape[1])
    y1 = min(y + height + MARGIN_PX, gray.shape[0])
    crop, within = smoothed(gray[y0:y1, x0:x1]), inside[y0:y1, x0:x1]
    allowed = cv2.dilate(within.astype(np.uint8), np.ones((2 * EDGE_PX + 1,) * 2, np.uint8))
    found = cv2.goodFeaturesToTrack(crop, MOST_FEATURES, QUALITY, FEATURE_PX, mask=allowed)
    features = np.zeros((0, 1, 2), np.float32) if found is None else found
    return Region(crop, within, features, np.array([x0, y0], float))


def smoothed(gray: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(gray, (0, 0), SMOOTHING_PX)
