# SPDX-License-Identifier: GPL-3.0-or-later
"""What an editor should know about a mask before paying for it, in words. No bpy, no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .latent_grid import Grid, frames_of_group

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels


def mask_notes(boxes: Sequence[Box | None], cells: np.ndarray, grid: Grid) -> list[str]:
    """Notes on a mask from the box of every frame (None: nothing masked), in the pixels the model
    sees, and its latent mask (t, h, w)."""
    notes = [
        _fast(boxes, grid),
        _sharing(boxes, cells, grid),
        _tiny(boxes, grid),
        _flicker(boxes),
    ]
    return [note for note in notes if note]


def _fast(boxes: Sequence[Box | None], grid: Grid) -> str:
    """A group's cells cover the whole way of the mask, so the group generates all of it."""
    worst, where = 0.0, range(0)
    for index in range(grid.latent_shape[0]):
        frames = frames_of_group(index, len(boxes), grid.group)
        centres = [_centre(boxes[f]) for f in frames if boxes[f]]
        if len(centres) > 1:
            way = float(np.ptp(np.array(centres), 0).max())
            if way > worst:
                worst, where = way, frames
    if worst < 2 * grid.cell:
        return ""
    return (
        f"The mask moves {worst:.0f} px within one latent group (frames {where.start} to "
        f"{where.stop - 1}); all it passes there is generated."
    )


def _sharing(boxes: Sequence[Box | None], cells: np.ndarray, grid: Grid) -> str:
    """Frames without a mask whose latent is generated because of their neighbours."""
    shared = [
        frame
        for index in range(grid.latent_shape[0])
        if cells[index].any()
        for frame in frames_of_group(index, len(boxes), grid.group)
        if boxes[frame] is None
    ]
    if not shared:
        return ""
    count = "1 frame is" if len(shared) == 1 else f"{len(shared)} frames are"
    return (
        f"{count} generated because they share a latent with masked ones ({_ranges(shared)}); "
        "the composite keeps the plate there."
    )


def _tiny(boxes: Sequence[Box | None], grid: Grid) -> str:
    sides = [min(b[2] - b[0], b[3] - b[1]) for b in boxes if b]
    if not sides or max(sides) >= grid.cell:
        return ""
    return (
        f"The mask is smaller than one latent cell ({max(sides)} of {grid.cell} px): the model "
        "has hardly room to make anything. Grow it, or enlarge region.pixels."
    )


def _flicker(boxes: Sequence[Box | None]) -> str:
    """Single masked frames between unmasked ones are usually a slip of a keyframe."""
    on = [box is not None for box in boxes]
    alone = [
        i
        for i, masked in enumerate(on)
        if masked and not (i > 0 and on[i - 1]) and not (i + 1 < len(on) and on[i + 1])
    ]
    if not alone or len(on) == 1:
        return ""
    return f"The mask is there for a single frame at {_ranges(alone)}."


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _ranges(frames: list[int]) -> str:
    """[0, 1, 2, 5] -> "frames 0-2, 5"."""
    parts: list[str] = []
    start = previous = frames[0]
    for frame in [*frames[1:], -2]:
        if frame == previous + 1:
            previous = frame
            continue
        parts.append(str(start) if start == previous else f"{start}-{previous}")
        start = previous = frame
    more = f" and {len(parts) - 5} more" if len(parts) > 5 else ""
    return ("frame " if len(frames) == 1 else "frames ") + ", ".join(parts[:5]) + more
