# SPDX-License-Identifier: GPL-3.0-or-later
"""A Blender Mask from outlines, and its muted Mask strip over a clip."""

from __future__ import annotations

import bpy
import numpy as np

from ..core.errors import EmptyMask
from ..masks.outline import is_corner, to_mask
from . import compat
from .shot import canvas_size
from .surroundings import free_channel
from .takes import holder, shown_frames

MADE = "wan_matte"  # custom property of a Mask that was made here
SMALLEST_PX = 2.0  # of an outline's box, either side


def new_matte(
    scene: bpy.types.Scene, plate: bpy.types.Strip, splines: list[np.ndarray]
) -> bpy.types.Strip:
    """A Mask of ``splines``, in pixels of the canvas, and its muted strip over the frames of
    ``plate``. Its frame numbers are the timeline's. Raises EmptyMask for outlines of no size,
    BadRequest where no channel above the clip is free."""
    width, height = canvas_size(scene)
    for spline in splines:
        check_size(spline)
    frames = shown_frames(plate)
    outer = holder(plate)
    level = outer.parent_meta() or scene.sequence_editor
    channel = free_channel(level, outer.channel + 1, frames)
    mask = bpy.data.masks.new(f"{plate.name} matte")
    mask.frame_start, mask.frame_end = frames.start, frames.stop - 1
    mask[MADE] = True
    layer = mask.layers.new(name="Matte")
    for spline in splines:
        draw(layer.splines.new(), to_mask(spline, (width, height)))
    strip = level.strips.new_mask(
        name=mask.name, mask=mask, channel=channel, frame_start=frames.start
    )
    compat.set_frames(strip, frames)
    strip.mute = True  # it says where, it is not to be seen
    return strip


def check_size(spline: np.ndarray) -> None:
    """Raise EmptyMask for an outline that holds no pixel."""
    wide, high = np.ptp(spline[:, 1], axis=0)
    if min(wide, high) < SMALLEST_PX:
        raise EmptyMask(
            f"The outline is {wide:.1f} x {high:.1f} px and holds nothing.", "Draw it larger."
        )


def draw(spline: bpy.types.MaskSpline, outline: np.ndarray) -> None:
    """Give an empty spline the points (n, 3, 2), in coordinates of the mask."""
    spline.points.add(len(outline) - len(spline.points))
    spline.use_cyclic = True
    for point, corner in zip(spline.points, is_corner(outline), strict=True):
        point.handle_type = "FREE" if corner else "ALIGNED"
    move(spline, outline)


def move(spline: bpy.types.MaskSpline, outline: np.ndarray) -> None:
    """Put the points of a spline at (n, 3, 2), in coordinates of the mask."""
    points = spline.points
    flat = np.asarray(outline, np.float32)
    points.foreach_set("co", flat[:, 1].ravel())  # a point takes its handles along
    points.foreach_set("handle_left", flat[:, 0].ravel())
    points.foreach_set("handle_right", flat[:, 2].ravel())


def read(spline: bpy.types.MaskSpline) -> np.ndarray:
    """The points of a spline (n, 3, 2), in coordinates of the mask."""
    parts = []
    for name in ("handle_left", "co", "handle_right"):
        values = np.empty(2 * len(spline.points), np.float32)
        spline.points.foreach_get(name, values)
        parts.append(values.reshape(-1, 2))
    return np.stack(parts, 1).astype(float)
