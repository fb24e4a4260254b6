# SPDX-License-Identifier: GPL-3.0-or-later
"""From pixels to latent cells: how the values of a cell become one."""

from __future__ import annotations

import numpy as np

from .grid import Grid, frames_of_group, pad_to_tokens


def to_latent(mask: np.ndarray, grid: Grid, reduction: str = "max") -> np.ndarray:
    """Pixel mask (T, H, W) -> latent mask (t, h, w) by one of REDUCTIONS."""
    return reduce_time(reduce_space(mask, grid, reduction), grid, reduction)


def reduce_space(mask: np.ndarray, grid: Grid, reduction: str = "max") -> np.ndarray:
    """(T, H, W) -> (T, h, w), any number of frames at a time."""
    mask = pad_to_tokens(mask, grid, axis=1)
    if reduction in _SAMPLERS:
        return _resample(mask, grid.latent_shape, (2, 1), _SAMPLERS[reduction])
    if reduction == "wan2gp_nearest":
        return mask[:, :: grid.cell, :: grid.cell]
    _, h, w = grid.latent_shape
    blocks = mask.reshape(len(mask), h, grid.cell, w, grid.cell)
    pick = {"min": np.min, "mean": np.mean}.get(reduction, np.max)
    return pick(blocks, (2, 4))


def reduce_time(mask: np.ndarray, grid: Grid, reduction: str = "max") -> np.ndarray:
    """(T, h, w) -> (t, h, w) over the causal groups, or as the parity modes sample."""
    if reduction in _SAMPLERS or reduction == "wan2gp_nearest":
        padded = np.concatenate([mask, mask[-1:].repeat(grid.padded_frames - len(mask), 0)])
        if reduction == "wan2gp_nearest":
            return _wan2gp_time(padded, grid.latent_shape[0])
        return _resample(padded, grid.latent_shape, (0,), _SAMPLERS[reduction])
    pick = {
        "min": lambda frames: frames.min(0),
        "mean": lambda frames: frames.mean(0),
        "first": lambda frames: frames[0],
        "last": lambda frames: frames[-1],
    }.get(reduction, lambda frames: frames.max(0))
    groups = [frames_of_group(i, grid.frames, grid.group) for i in range(grid.latent_shape[0])]
    return np.stack([pick(mask[g.start : g.stop]) for g in groups])


def _resample(mask, shape, axes, sample) -> np.ndarray:
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


_SAMPLERS = {"comfy_trilinear": _linear, "vace_nearest_exact": _nearest_exact}


def _wan2gp_time(mask: np.ndarray, t: int) -> np.ndarray:
    """Latent 0 is frame 0; the others are nearest samples of the whole clip, which lag."""
    later = (np.arange(t - 1) * len(mask) / max(t - 1, 1)).astype(int)
    return (mask[np.concatenate([[0], later])] > 0.5).astype(mask.dtype)
