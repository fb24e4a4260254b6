# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps of cells of 4x4 pixels: the grid on which neighbourhoods are measured and regions found."""

from __future__ import annotations

import numpy as np

CELL = 4


def to_cells(plane: np.ndarray) -> np.ndarray:
    """Mean of 4x4 pixels; a border cell that sticks out repeats the edge."""
    height, width = plane.shape
    plane = np.pad(plane, ((0, -height % CELL), (0, -width % CELL)), mode="edge")
    rows = plane.reshape(-1, CELL, plane.shape[1]).sum(1)
    return rows.reshape(len(rows), -1, CELL).sum(2) / np.float32(CELL * CELL)


def box_mean(cells: np.ndarray, radius: int) -> np.ndarray:
    """Mean over a (2 radius + 1) square that is cut off at the picture's edge."""
    for axis in (0, 1):
        size = cells.shape[axis]
        total = np.cumsum(cells, axis=axis, dtype=np.float64)
        total = np.concatenate([np.zeros_like(total.take([0], axis)), total], axis)
        low = np.maximum(np.arange(size) - radius, 0)
        high = np.minimum(np.arange(size) + radius + 1, size)
        span = (high - low).reshape((-1, 1) if axis == 0 else (1, -1))
        cells = (total.take(high, axis) - total.take(low, axis)) / span
    return cells.astype(np.float32)


def spread(cells: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cell map to (height, width), linear between the cells' centres."""
    for axis, size in ((0, height), (1, width)):
        cells = lerp(cells, (np.arange(size) + 0.5) / CELL - 0.5, axis)
    return cells


def lerp(cells: np.ndarray, at: np.ndarray, axis: int) -> np.ndarray:
    """Linear interpolation of ``cells`` along ``axis`` at fractional indices."""
    at = at.clip(0, cells.shape[axis] - 1)
    low = at.astype(int)
    high = np.minimum(low + 1, cells.shape[axis] - 1)
    part = (at - low).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
    return cells.take(low, axis) * (1 - part) + cells.take(high, axis) * part


def ramp(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = ((value - low) / (high - low)).clip(0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def grow(mask: np.ndarray, radius: int) -> np.ndarray:
    """Cells within ``radius`` (a square) of a true cell."""
    return box_mean(mask.astype(np.float32), radius) > 1e-6


def shrink(mask: np.ndarray, radius: int) -> np.ndarray:
    return ~grow(~mask, radius)


def fill(mask: np.ndarray) -> np.ndarray:
    """Add the cells that have members on all four sides: the inside of an outline."""
    sides = [np.maximum.accumulate(mask, axis) for axis in (0, 1)]
    sides += [np.flip(np.maximum.accumulate(np.flip(mask, axis), axis), axis) for axis in (0, 1)]
    return mask | np.logical_and.reduce(sides)


def label(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """(labels, count): 8-connected parts of a bool map, numbered from 1; 0 is background."""
    labels = np.zeros(mask.shape, np.int32)
    parent = [0]

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for y, row in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
        for start, stop in edges.reshape(-1, 2):
            above = labels[y - 1, max(start - 1, 0) : stop + 1] if y else labels[:0, 0]
            met = {root(i) for i in above[above > 0].tolist()}
            if not met:
                parent.append(len(parent))
            name = min(met, default=len(parent) - 1)
            for other in met:
                parent[other] = name
            labels[y, start:stop] = name
    roots = np.array([root(i) for i in range(len(parent))])
    found, flat = np.unique(roots[labels.ravel()], return_inverse=True)
    if found[0] != 0:  # no background at all
        flat = flat + 1
    return flat.reshape(mask.shape).astype(np.int32), int(flat.max())
