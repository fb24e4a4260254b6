# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import tempfile
from pathlib import Path

import bpy
import numpy as np

from .. import hygiene_view
from ..errors import UnsupportedClip
from ..hygiene.bands import to_rgb
from ..hygiene.blur import MAX_RADIUS
from ..timeline import compat, shot, solo
from .operator import PlateOperator

BRUSH_GRAY = 1.0 / MAX_RADIUS  # one stroke blurs by one pixel


class WAN_OT_open_hygiene_view(PlateOperator, bpy.types.Operator):
    """Show what glows in the selected clip's frame: fine detail that may hold the motion. Paint white to blur lightly"""  # noqa: E501

    bl_idname = "wan.open_hygiene_view"
    bl_label = "Open Matrix View"
    bl_options = {"REGISTER", "UNDO"}  # else undoing the first stroke would take the map away

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        plate = shot.find_plate(scene)
        view = hygiene_view.open_view(
            plate.name, read_frame(scene, plate), scene.wan.hygiene.keep_edges
        )
        hygiene_view.start_timer()
        if not bpy.app.background:
            _show(context, view.image)


def frame_of(scene: bpy.types.Scene, plate: bpy.types.Strip) -> int:
    """The playhead where it stands in the plate, else the plate's first frame."""
    first = compat.start(plate)
    inside = first <= scene.frame_current < first + compat.length(plate)
    return scene.frame_current if inside else first


def read_frame(scene: bpy.types.Scene, plate: bpy.types.Strip) -> np.ndarray:
    """(H, W, 3) in 0..1: the plate at the playhead, or its first frame when it is elsewhere.

    Rendered alone at canvas size, as it is exported.
    """
    frame = frame_of(scene, plate)
    with tempfile.TemporaryDirectory(prefix="wan-frame-") as folder:
        with solo.solo_scene(scene, plate.name) as alone:
            solo.write_png(alone, "RGBA", 8)
            path = next(iter(solo.render(alone, range(frame, frame + 1), Path(folder))))
        image = bpy.data.images.load(str(path))
        try:
            return read_image(image)
        finally:
            bpy.data.images.remove(image)


def read_image(image: bpy.types.Image) -> np.ndarray:
    """(H, W, 3) in 0..1 of an image datablock. Raises UnsupportedClip when it has no pixels."""
    width, height = image.size
    if not width * height:
        raise UnsupportedClip(
            f"The image {image.name!r} has no pixels.", "Check that its file is there."
        )
    pixels = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    return to_rgb(pixels.reshape(height, width, image.channels)[::-1])


def _show(context: bpy.types.Context, image: bpy.types.Image) -> None:
    """Show the blur map in an Image Editor, ready to be painted; open a window if there is none."""
    areas = [a for w in context.window_manager.windows for a in w.screen.areas]
    area = next((a for a in areas if a.type == "IMAGE_EDITOR"), None)
    if area is None:
        bpy.ops.wm.window_new()
        area = context.window_manager.windows[-1].screen.areas[0]
        area.type = "IMAGE_EDITOR"
    space = area.spaces.active
    space.image = image
    space.ui_mode = "PAINT"
    space.show_region_ui = True
    _set_brush(context.scene.tool_settings)


def _set_brush(tools: bpy.types.ToolSettings) -> None:
    """A gray that blurs lightly; the brush's usual black would paint nothing."""
    paint = tools.image_paint
    unified = getattr(paint, "unified_paint_settings", None) or tools.unified_paint_settings
    for owner in (unified, paint.brush):
        if owner is not None:
            owner.color = (BRUSH_GRAY,) * 3
