# SPDX-License-Identifier: GPL-3.0-or-later
"""From pixels to latent cells: how the values of a cell become one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..core.registry import find
from .grid import Grid, frames_of_group, pad_to_tokens
from .scale import scale_as_picture, scale_to_max, scale_to_min


@dataclass(frozen=True)
class Reducer:
    """How masks become smaller, in three steps.

    ``scale``: (H, W) of the canvas and a (height, width) -> the mask as the model sees it.
    ``space``: (T, H, W) in whole tokens -> (T, h, w).
    ``time``: (T, h, w) -> (t, h, w).
    """

    scale: Callable[[np.ndarray, tuple[int, int]], np.ndarray]
    space: Callable[[np.ndarray, Grid], np.ndarray]
    time: Callable[[np.ndarray, Grid], np.ndarray]


def find_reducer(reduction: str) -> Reducer:
    """One of REDUCERS, by name. Raises InvalidJob."""
    return find(REDUCERS, reduction, "reduction")


def to_latent(mask: np.ndarray, grid: Grid, reduction: str = "max") -> np.ndarray:
    """Pixel mask (T, H, W) -> latent mask (t, h, w)."""
    return reduce_time(reduce_space(mask, grid, reduction), grid, reduction)


def reduce_space(mask: np.ndarray, grid: Grid, reduction: str = "max") -> np.ndarray:
    """(T, H, W) -> (T, h, w), any number of frames at a time."""
    return find_reducer(reduction).space(pad_to_tokens(mask, grid, axis=1), grid)


def reduce_time(mask: np.ndarray, grid: Grid, reduction: str = "max") -> np.ndarray:
    """(T, h, w) -> (t, h, w) over the causal groups, or as the parity modes sample."""
    return find_reducer(reduction).time(mask, grid)


def _of_cells(pick: Callable[..., np.ndarray]) -> Callable[[np.ndarray, Grid], np.ndarray]:
    """Each cell's pixels become one value by ``pick``."""

    def space(mask: np.ndarray, grid: Grid) -> np.ndarray:
        _, h, w = grid.latent_shape
        return pick(mask.reshape(len(mask), h, grid.cell, w, grid.cell), (2, 4))

    return space


def _of_groups(
    pick: Callable[[np.ndarray], np.ndarray],
) -> Callable[[np.ndarray, Grid], np.ndarray]:
    """Each causal group's frames become one by ``pick``."""

    def time(mask: np.ndarray, grid: Grid) -> np.ndarray:
        groups = [frames_of_group(i, grid.frames, grid.group) for i in range(grid.latent_shape[0])]
        return np.stack([pick(mask[g.start : g.stop]) for g in groups])

    return time


def _padded(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """The last frame repeated to the length the VAE is given."""
    return np.concatenate([mask, mask[-1:].repeat(grid.padded_frames - len(mask), 0)])


def _sampled(sample: Callable[[np.ndarray, int, int], np.ndarray]) -> Reducer:
    """The mask resampled along each axis, as other programs do."""

    def space(mask: np.ndarray, grid: Grid) -> np.ndarray:
        return _resample(mask, grid.latent_shape, (2, 1), sample)

    def time(mask: np.ndarray, grid: Grid) -> np.ndarray:
        return _resample(_padded(mask, grid), grid.latent_shape, (0,), sample)

    return Reducer(scale_as_picture, space, time)


def _resample(
    mask: np.ndarray,
    shape: tuple[int, int, int],
    axes: tuple[int, ...],
    sample: Callable[[np.ndarray, int, int], np.ndarray],
) -> np.ndarray:
    for axis in axes:
        mask = sample(mask, shape[axis], axis)
    return mask


def _linear(mask: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Pixel centres aligned, no antialiasing: sample i of n lies at (i + 1/2) N/n - 1/2 (torch's
    interpolate with align_corners=False)."""
    length = mask.shape[axis]
    step = float(np.float32(length / size))  # rounded where torch rounds: positions are single
    centre = np.maximum(step * (np.arange(size) + 0.5) - 0.5, 0).astype(np.float32)
    low = np.minimum(centre.astype(int), length - 1)
    high = np.minimum(low + 1, length - 1)
    weight = np.clip(centre - low.astype(np.float32), 0, 1)
    weight = weight.reshape([-1 if a == axis else 1 for a in range(3)])
    upper = mask.take(high, axis) * weight
    # product and sum are rounded once, as a fused multiply-add does it: equal to the bit
    return (mask.take(low, axis).astype(np.float64) * (1 - weight) + upper).astype(mask.dtype)


def _nearest_exact(mask: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Sample i of n is entry floor((i + 1/2) N/n)."""
    return mask.take(((np.arange(size) + 0.5) * mask.shape[axis] / size).astype(int), axis)


def _wan2gp_space(mask: np.ndarray, grid: Grid) -> np.ndarray:
    return mask[:, :: grid.cell, :: grid.cell]


def _wan2gp_time(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """Latent 0 is frame 0; the others are nearest samples of the whole clip, which lag."""
    mask, t = _padded(mask, grid), grid.latent_shape[0]
    later = (np.arange(t - 1) * len(mask) / max(t - 1, 1)).astype(int)
    return (mask[np.concatenate([[0], later])] > 0.5).astype(mask.dtype)


_max_of_cells = _of_cells(np.max)
REDUCERS = {
    "max": Reducer(scale_to_max, _max_of_cells, _of_groups(lambda frames: frames.max(0))),
    "min": Reducer(scale_to_min, _of_cells(np.min), _of_groups(lambda frames: frames.min(0))),
    "mean": Reducer(scale_as_picture, _of_cells(np.mean), _of_groups(lambda f: f.mean(0))),
    "first": Reducer(scale_to_max, _max_of_cells, _of_groups(lambda frames: frames[0])),
    "last": Reducer(scale_to_max, _max_of_cells, _of_groups(lambda frames: frames[-1])),
    "comfy_trilinear": _sampled(_linear),
    "vace_nearest_exact": _sampled(_nearest_exact),
    "wan2gp_nearest": Reducer(scale_as_picture, _wan2gp_space, _wan2gp_time),
}
