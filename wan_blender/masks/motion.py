# SPDX-License-Identifier: GPL-3.0-or-later
"""Masks widened by their motion while a shutter is open, as motion blur widens what they follow.

Between a frame and its neighbour the mask is taken as one shape that moves, scales and turns: by
the map that carries the Gaussian of its centre and spread onto that of the next, along which every
pixel moves straight (optimal transport between Gaussians: Dowson and Landau, 1982). Only frames of
one latent group widen each other: what another group holds is not generated for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from .crop import bounds
from .grid import group_of_frame

Read: TypeAlias = Callable[[int], np.ndarray]
LEAST_SPREAD = 1 / 12  # variance of one pixel
STEPS = 96  # of the way, at most


def widened(read: Read, count: int, shutter: float) -> Read:
    """``read(index)`` of masks (H, W), integers or 0..1, with each swept over half of ``shutter``,
    in frames, to either side. A shutter of 0 gives ``read`` itself."""
    if shutter <= 0:
        return read
    kept = lru_cache(3)(read)  # frames are asked for in order

    def wide(index: int) -> np.ndarray:
        mask = kept(index)
        swept = mask
        for other in (index - 1, index + 1):
            if 0 <= other < count and group_of_frame(other) == group_of_frame(index):
                swept = np.maximum(swept, sweep(mask, kept(other), shutter / 2))
        return swept

    return wide


def sweep(mask: np.ndarray, other: np.ndarray, reach: float) -> np.ndarray:
    """All that ``mask`` (H, W) covers on the first ``reach`` (0..1) of its way to ``other``; itself
    where either is empty."""
    box = bounds(mask)
    if box is None or bounds(other) is None:
        return mask
    centre, spread = _moments(mask)
    target, wider = _moments(other)
    linear = _carry(spread, wider)
    corners = np.array([(x, y) for x in box[::2] for y in box[1::2]], float) - 0.5
    way = np.abs((corners - centre) @ linear.T + target - corners).max() * reach
    swept = mask.copy()
    for step in np.linspace(0, reach, min(int(np.ceil(way)) + 1, STEPS))[1:]:
        matrix = (1 - step) * np.eye(2) + step * linear
        _lay(swept, mask, matrix, centre, (1 - step) * centre + step * target, corners)
    return swept


def _moments(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (x, y) and covariance of the masked pixels."""
    x0, y0, x1, y1 = bounds(mask) or (0, 0, 0, 0)
    weights = mask[y0:y1, x0:x1].astype(np.float64)
    x, y = np.arange(x0, x1), np.arange(y0, y1)
    total, columns, rows = weights.sum(), weights.sum(0), weights.sum(1)
    centre = np.array([columns @ x, rows @ y]) / total
    dx, dy = x - centre[0], y - centre[1]
    xy = dy @ weights @ dx
    spread = np.array([[columns @ dx**2, xy], [xy, rows @ dy**2]]) / total
    return centre, spread + LEAST_SPREAD * np.eye(2)


def _carry(spread: np.ndarray, wider: np.ndarray) -> np.ndarray:
    """The symmetric T with T spread T = wider."""
    root = _root(spread)
    inverse = np.linalg.inv(root)
    return inverse @ _root(root @ wider @ root) @ inverse


def _root(matrix: np.ndarray) -> np.ndarray:
    """The square root of a symmetric matrix that is positive."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _lay(
    swept: np.ndarray,
    mask: np.ndarray,
    matrix: np.ndarray,
    centre: np.ndarray,
    moved: np.ndarray,
    corners: np.ndarray,
) -> None:
    """Join into ``swept``, in place, the mask turned and scaled by ``matrix`` about its centre,
    which comes to ``moved``. Nearest pixels: gray stays what it is."""
    height, width = mask.shape
    around = (corners - centre) @ matrix.T + moved
    x0, y0 = np.clip(np.floor(around.min(0)).astype(int), 0, (width, height))
    x1, y1 = np.clip(np.ceil(around.max(0)).astype(int) + 1, 0, (width, height))
    back = np.linalg.inv(matrix)
    x, y = np.arange(x0, x1) - moved[0], (np.arange(y0, y1) - moved[1])[:, None]
    columns = np.rint(back[0, 0] * x + back[0, 1] * y + centre[0]).astype(int)
    rows = np.rint(back[1, 0] * x + back[1, 1] * y + centre[1]).astype(int)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    values = mask[rows.clip(0, height - 1), columns.clip(0, width - 1)] * inside
    part = swept[y0:y1, x0:x1]
    np.maximum(part, values.astype(mask.dtype), out=part)
