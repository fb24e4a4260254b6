# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the canvas lies in the sequencer's preview: pixels of a region and pixels of the canvas."""

from __future__ import annotations

import bpy

from ..timeline.shot import canvas_size

Point = tuple[float, float]


def corners(scene: bpy.types.Scene, region: bpy.types.Region) -> tuple[Point, Point]:
    """Region pixels of the canvas' lower left and upper right. The preview has the canvas around
    its origin, unscaled by the resolution percentage, its pixels as wide as they are shown."""
    render = scene.render
    x = render.resolution_x * render.pixel_aspect_x / render.pixel_aspect_y / 2
    y = render.resolution_y / 2
    to = region.view2d.view_to_region
    return to(-x, -y, clip=False), to(x, y, clip=False)


def to_canvas(scene: bpy.types.Scene, region: bpy.types.Region, x: float, y: float) -> Point:
    """Canvas pixels, y down, of a place in the region; the canvas does not end at its edge."""
    (left, bottom), (right, top) = corners(scene, region)
    width, height = canvas_size(scene)
    return (x - left) / (right - left) * width, (top - y) / (top - bottom) * height


def find_preview(window: bpy.types.Window) -> tuple[bpy.types.Area, bpy.types.Region] | None:
    """The largest sequencer preview of a window that shows the picture."""
    found = [
        (area, region)
        for area in window.screen.areas
        if area.type == "SEQUENCE_EDITOR" and area.spaces.active.display_mode == "IMAGE"
        for region in area.regions
        if region.type == "PREVIEW" and min(region.width, region.height) > 1
    ]
    return max(found, key=lambda pair: pair[1].width * pair[1].height, default=None)
