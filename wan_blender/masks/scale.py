# SPDX-License-Identifier: GPL-3.0-or-later
"""A mask at another size: (H, W) to the (height, width) that the model sees."""

from __future__ import annotations

import numpy as np


def scale_to_max(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each pixel takes the largest value of the pixels that it touches."""
    return _largest(_largest(mask, size[0], 0), size[1], 1)


def scale_to_min(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each pixel takes the smallest value of the pixels that it touches."""
    return 1 - scale_to_max(1 - mask, size)


def scale_as_picture(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Averages of areas where it shrinks, cubic where it grows."""
    (height, width), (rows, columns) = mask.shape, size
    weights = _area_weights if columns < width else _cubic_weights
    return np.clip(weights(height, rows) @ mask @ weights(width, columns).T, 0, 1)


def _largest(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    """``size`` entries along ``axis``: the largest of the values that each one touches."""
    length, index = values.shape[axis], np.arange(size)
    ranges = np.stack([index * length // size, -(-(index + 1) * length // size)], 1).ravel()
    padded = np.concatenate([values, values.take([-1], axis)], axis)  # a range may end at its end
    return np.maximum.reduceat(padded, ranges, axis).take(2 * index, axis)


def _area_weights(length: int, size: int) -> np.ndarray:
    """(size, length): each output is the mean of the stretch of the input that it covers."""
    edges = np.arange(size + 1) * (length / size)
    low = np.arange(length)
    overlap = np.minimum(edges[1:, None], low + 1) - np.maximum(edges[:-1, None], low)
    return (np.clip(overlap, 0, None) * (size / length)).astype(np.float32)


def _cubic_weights(length: int, size: int) -> np.ndarray:
    """(size, length): Keys' cubic convolution with a = -0.75, the edge repeated outside (what
    OpenCV's INTER_CUBIC computes)."""
    a, weights = -0.75, np.zeros((size, length), np.float32)
    centre = (np.arange(size) + 0.5) * length / size - 0.5
    first = np.floor(centre).astype(int)
    for tap in range(-1, 3):
        d = np.abs(centre - (first + tap))
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        value = np.where(d <= 1, near, np.where(d < 2, far, 0))
        np.add.at(weights, (np.arange(size), np.clip(first + tap, 0, length - 1)), value)
    return weights
