# SPDX-License-Identifier: GPL-3.0-or-later
"""The grid of the causal video VAE: which pixels and frames one latent cell stands for.

T frames become 1 + (T-1)/4 latents: frame 0 alone, then groups of four {1-4}, {5-8}, ...
One cell covers 8x8 pixels (16x16 on the 5B model). numpy only: the overlay in Blender and the
engine share these functions, so what the editor sees is what the sampler gets.

Masks are float arrays (T, H, W) in [0, 1], 1 = generate; latent masks are (t, h, w).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REDUCTIONS = {
    "max": "Largest value of the cell's pixels and frames: nothing masked is lost",
    "min": "Smallest value: only cells that are masked throughout",
    "mean": "Average: partly masked cells become soft",
    "first": "First frame of each group, largest pixel",
    "last": "Last frame of each group, largest pixel",
    "comfy_trilinear": "As ComfyUI resamples it (two frames and 2x2 pixels of each cell)",
    "vace_nearest_exact": "As VACE resamples its mask channels (one frame of each cell)",
    "wan2gp_nearest": "As Wan2GP resamples it (one frame, one pixel, cut at 0.5)",
}


@dataclass(frozen=True)
class Grid:
    """Sizes of a shot in pixels and latents. ``cell`` is pixels per latent cell, ``patch``
    cells per model token along each side, ``group`` frames per latent after the first."""

    frames: int
    height: int
    width: int
    cell: int = 8
    patch: int = 2
    group: int = 4

    @property
    def padded_frames(self) -> int:
        """The next 4n+1: what the VAE is given. Padding repeats the last frame."""
        return _ceil_to(self.frames - 1, self.group) + 1

    @property
    def padded_height(self) -> int:
        return _ceil_to(self.height, self.cell * self.patch)

    @property
    def padded_width(self) -> int:
        return _ceil_to(self.width, self.cell * self.patch)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(t, h, w)"""
        return (
            1 + (self.padded_frames - 1) // self.group,
            self.padded_height // self.cell,
            self.padded_width // self.cell,
        )


def _ceil_to(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def group_of_frame(frame: int, group: int = 4) -> int:
    """The latent that frame ``frame`` (0-based) belongs to."""
    return -(-frame // group)


def frames_of_group(index: int, frames: int, group: int = 4) -> range:
    """The frames of latent ``index`` in a clip of ``frames`` frames; the last may be short."""
    if index == 0:
        return range(0, min(1, frames))
    return range(group * (index - 1) + 1, min(group * index + 1, frames))


def grow(mask: np.ndarray, before: int, after: int, axis: int) -> np.ndarray:
    """Grey dilation along one axis: each entry takes the largest of its neighbours up to
    ``before`` entries before and ``after`` entries after it. Soft values travel unchanged."""
    return _spread(_spread(mask, after, axis, 1), before, axis, -1)


def _spread(mask: np.ndarray, reach: int, axis: int, direction: int) -> np.ndarray:
    """Running maximum over ``reach`` following entries, by doubling shifts: log2(reach) passes."""
    mask = np.moveaxis(mask, axis, 0)[::direction]
    covered = 0
    reach = min(reach, len(mask) - 1)
    while covered < reach:
        shift = min(covered + 1, reach - covered)
        grown = mask.copy()
        np.maximum(grown[:-shift], mask[shift:], out=grown[:-shift])
        mask, covered = grown, covered + shift
    return np.moveaxis(mask[::direction], 0, axis)


def grow_space(mask: np.ndarray, pixels: int) -> np.ndarray:
    """Grow (or shrink, negative) a (T, H, W) mask by a square of ``pixels`` on each side. The
    canvas edge counts as inside when shrinking."""
    if pixels < 0:
        return 1 - grow_space(1 - mask, -pixels)
    return grow(grow(mask, pixels, pixels, 1), pixels, pixels, 2)


def grow_time(mask: np.ndarray, before: int, after: int) -> np.ndarray:
    """Extend every masked moment to earlier and later frames; a negative count takes away."""
    if before < 0 or after < 0:
        kept = 1 - grow(1 - mask, max(-before, 0), max(-after, 0), 0)
        return grow_time(kept, max(before, 0), max(after, 0))
    return grow(mask, after, before, 0)


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


def pad_to_tokens(frames: np.ndarray, grid: Grid, axis: int = 0) -> np.ndarray:
    """Repeat the last row and column of pictures or masks until they fill whole tokens; height
    and width are ``axis`` and ``axis + 1``. The mask must go with the picture: padding that showed
    an object and was kept would be drawn on into the frame."""
    below, right = grid.padded_height - grid.height, grid.padded_width - grid.width
    widths = [(0, 0)] * frames.ndim
    widths[axis : axis + 2] = [(0, below), (0, right)]
    return np.pad(frames, widths, mode="edge")


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


def stray_cells(
    cells: np.ndarray, latent_mask: np.ndarray, grid: Grid, near: int = 1
) -> np.ndarray:
    """Of each frame (T,), how many cells its group generates more than ``near`` cells away from
    what is masked on the frame itself, by ``cells`` (T, h, w); 0 on frames without a mask."""
    masked = cells > 0
    generated = (latent_mask > 0)[[group_of_frame(f, grid.group) for f in range(len(cells))]]
    stray = (generated & ~grow_space(masked, near)).sum((1, 2))
    return np.where(masked.any((1, 2)), stray, 0)


def snap_to_tokens(latent_mask: np.ndarray, patch: int = 2) -> np.ndarray:
    """Every cell of a model token takes the token's largest value: the transformer cannot hold
    two noise levels in one token."""
    t, h, w = latent_mask.shape
    tokens = latent_mask.reshape(t, h // patch, patch, w // patch, patch).max((2, 4))
    return tokens.repeat(patch, 1).repeat(patch, 2)


def footprint(latent_mask: np.ndarray, grid: Grid) -> np.ndarray:
    """Exact inverse of the grid: every pixel takes the value of its cell.

    (t, h, w) -> (T, H, W), cropped to the shot's own size.
    """
    return np.stack([frame_footprint(latent_mask, grid, f) for f in range(grid.frames)])


def frame_footprint(latent_mask: np.ndarray, grid: Grid, frame: int) -> np.ndarray:
    """``footprint`` of one frame: (H, W)."""
    cells = latent_mask[group_of_frame(frame, grid.group)]
    return cells.repeat(grid.cell, 0).repeat(grid.cell, 1)[: grid.height, : grid.width]


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
