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


def pad_to_tokens(frames: np.ndarray, grid: Grid, axis: int = 0) -> np.ndarray:
    """Repeat the last row and column of pictures or masks until they fill whole tokens; height
    and width are ``axis`` and ``axis + 1``. The mask must go with the picture: padding that showed
    an object and was kept would be drawn on into the frame."""
    below, right = grid.padded_height - grid.height, grid.padded_width - grid.width
    widths = [(0, 0)] * frames.ndim
    widths[axis : axis + 2] = [(0, below), (0, right)]
    return np.pad(frames, widths, mode="edge")


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
