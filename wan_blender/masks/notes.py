# SPDX-License-Identifier: GPL-3.0-or-later
"""What an editor should know about a mask before paying for it, in words. No bpy, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ..core.frame_ranges import frame_ranges
from ..core.mask_settings import Mask
from .crop import Crop, Xyxy, grown
from .grid import Grid, frames_of_group, group_of_frame, grow_time

WORTH_TELLING = 0.2  # of what is generated on a frame, off the mask
Boxes = Sequence[Xyxy | None]


def mask_notes(
    boxes: Boxes,
    cells: np.ndarray,
    strays: np.ndarray,
    crop: Crop,
    settings: Mask,
    frame_start: int,
) -> list[str]:
    """Notes on a mask from its box on every frame (plate pixels; None: nothing masked), its
    latent mask (t, h, w) and ``latent_grid.stray_cells`` of it (T,). They name frames of the
    timeline, on which the shot starts at ``frame_start``."""
    notes = [
        _fast(boxes, cells, strays, crop, frame_start),
        _sharing(boxes, cells, crop.grid, settings, frame_start),
        _tiny(boxes, crop, settings),
        _flicker(boxes, frame_start),
    ]
    return [note for note in notes if note]


def _fast(boxes: Boxes, cells: np.ndarray, strays: np.ndarray, crop: Crop, frame_start: int) -> str:
    """A group generates on all its frames what is masked on any of them."""
    grid = crop.grid
    generated = (cells > 0).sum((1, 2))[[group_of_frame(f, grid.group) for f in range(len(boxes))]]
    shares = strays / np.maximum(generated, 1)
    frame = int(shares.argmax())
    if shares[frame] < WORTH_TELLING:
        return ""
    frames = frames_of_group(group_of_frame(frame, grid.group), len(boxes), grid.group)
    way = _way([boxes[f] for f in frames])
    far = way * grid.width >= 2 * grid.cell * crop.width
    return (
        f"The mask {f'moves {way} px' if far else 'changes'} within one latent group (frames "
        f"{frame_start + frames.start} to {frame_start + frames.stop - 1}): {shares[frame]:.0%} of "
        f"what is generated on frame {frame_start + frame} lies off the mask there."
    )


def _way(boxes: Boxes) -> int:
    """How far the mask goes as a whole: both its edges the same way. One edge alone moves where
    the mask grows or a second one appears."""
    ways = [0]
    for one, other in combinations([box for box in boxes if box], 2):
        for low, high in ((0, 2), (1, 3)):
            by = other[low] - one[low], other[high] - one[high]
            ways.append(min(map(abs, by)) if by[0] * by[1] > 0 else 0)
    return max(ways)


def _sharing(boxes: Boxes, cells: np.ndarray, grid: Grid, settings: Mask, frame_start: int) -> str:
    """Frames that are neither masked nor asked for by growth in time, whose latent is generated
    because of their neighbours."""
    masked = np.array([box is not None for box in boxes], np.float32)[:, None, None]
    wanted = grow_time(masked, max(settings.grow_before, 0), max(settings.grow_after, 0))
    shared = [
        frame_start + frame
        for index in range(grid.latent_shape[0])
        if cells[index].any()
        for frame in frames_of_group(index, len(boxes), grid.group)
        if not wanted[frame].any()
    ]
    if not shared:
        return ""
    count = "1 frame is" if len(shared) == 1 else f"{len(shared)} frames are"
    return (
        f"{count} generated because they share a latent with masked ones ({frame_ranges(shared)}); "
        "the composite keeps the plate there."
    )


def _tiny(boxes: Boxes, crop: Crop, settings: Mask) -> str:
    canvas = crop.x + crop.width, crop.y + crop.height
    seen = crop.as_seen([grown(box, settings.grow_px, canvas) for box in boxes])
    sides = [min(b[2] - b[0], b[3] - b[1]) for b in seen if b]
    cell = crop.grid.cell
    if not sides or max(sides) >= cell:
        return ""
    return (
        f"The mask is smaller than one latent cell ({max(sides)} of {cell} px): the model "
        "has hardly room to make anything. Grow it, or enlarge region.pixels."
    )


def _flicker(boxes: Boxes, frame_start: int) -> str:
    """Single masked frames between unmasked ones are usually a slip of a keyframe."""
    on = [box is not None for box in boxes]
    alone = [
        frame_start + i
        for i, masked in enumerate(on)
        if masked and not (i > 0 and on[i - 1]) and not (i + 1 < len(on) and on[i + 1])
    ]
    if not alone or len(on) == 1:
        return ""
    return f"The mask is there for a single frame at {frame_ranges(alone)}."
