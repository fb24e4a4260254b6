# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import math
import tempfile
from pathlib import Path

import bpy
import numpy as np
from bpy.props import StringProperty

from .. import crop, hygiene_view, mask_view, preferences, properties
from ..errors import EngineMissing, UnsupportedClip
from ..hygiene.bands import resize, to_rgb
from ..hygiene.blur import MAX_RADIUS
from ..library import library
from ..timeline import compat, place, shot, solo, sources
from ..timeline.matte_render import to_display
from .operator import PlateOperator

BRUSH_GRAY = 1.0 / MAX_RADIUS  # one stroke blurs by one pixel
MOST_PIXELS = 4_000_000  # of the view: it is to follow the brush


class WAN_OT_open_hygiene_view(PlateOperator, bpy.types.Operator):
    """Show what glows in the selected clip's frame: fine detail that may hold the motion. Paint white to blur lightly"""  # noqa: E501

    bl_idname = "wan.open_hygiene_view"
    bl_label = "Open Matrix View"
    bl_options = {"REGISTER", "UNDO"}  # else undoing the first stroke would take the map away

    image: StringProperty(
        name="Image",
        description="Name of an image to look at instead of the selected clip",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return _shows_image(context.space_data) or super().poll(context)

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        keep_edges = scene.wan.hygiene.keep_edges
        if self.image:
            rgb = _read_named(scene, self.image)
            view = hygiene_view.open_view(self.image, rgb, keep_edges, is_clip=False)
        else:
            plate = shot.find_plate(scene)
            sources.check(plate)
            rgb = read_frame(scene, plate)
            view = hygiene_view.open_view(plate.name, rgb, keep_edges, is_clip=True)
        with contextlib.suppress(EngineMissing):  # the panel says that faces were not looked for
            view.look_for_faces(preferences.engine_python())
        hygiene_view.follow_map()
        if not bpy.app.background:
            _show(context, view.image)


def frame_of(scene: bpy.types.Scene, plate: bpy.types.Strip) -> int:
    """The playhead where it stands in the plate, else the plate's first frame."""
    first = compat.start(plate)
    inside = first <= scene.frame_current < first + compat.length(plate)
    return scene.frame_current if inside else first


def read_frame(scene: bpy.types.Scene, plate: bpy.types.Strip) -> np.ndarray:
    """(H, W, 3) in 0..1 at generation size: the strip at the playhead, or its first frame when it
    is elsewhere. A result lies over the clip that it was made from."""
    frame = frame_of(scene, plate)
    picture = _render(scene, plate.name, frame)
    recipe = place.read_recipe(plate)
    below = recipe and scene.sequence_editor.strips_all.get(recipe["job"]["shot"]["strip"])
    if below and compat.start(below) <= frame < compat.end(below):
        under, alpha = _render(scene, below.name, frame), picture[..., 3:]
        picture = alpha * picture + (1 - alpha) * under
    return resize(to_rgb(picture), *generation_size(scene))


def _shows_image(space: bpy.types.Space | None) -> bool:
    return space is not None and space.type == "IMAGE_EDITOR" and space.image is not None


def _read_named(scene: bpy.types.Scene, name: str) -> np.ndarray:
    """(H, W, 3) in 0..1 at generation size: an image of this file."""
    image = bpy.data.images.get(name)
    if image is None:
        raise UnsupportedClip(f"There is no image {name!r} in this file.", "Open it first.")
    return resize(to_rgb(read_image(image)), *generation_size(scene, tuple(image.size)))


def generation_size(
    scene: bpy.types.Scene, canvas: tuple[int, int] | None = None
) -> tuple[int, int]:
    """(width, height) of the canvas at the scale at which the model sees it. Without the mask
    overlay, which knows the part around the mask that the model sees, that part is the canvas."""
    canvas = canvas or shot.canvas_size(scene)
    preview = mask_view.view().preview
    if preview is not None and preview.canvas == canvas:
        seen = preview.crop
    else:
        sizes = library().sizes(scene.wan.model.path)
        region = properties.read(scene).region
        seen = crop.plan_crop(1, canvas, (0, 0, *canvas), region, sizes)
    scale = min(seen.grid.width / seen.width, math.sqrt(MOST_PIXELS / (canvas[0] * canvas[1])))
    return tuple(max(round(side * scale), 1) for side in canvas)


def _render(scene: bpy.types.Scene, strip: str, frame: int) -> np.ndarray:
    """(H, W, 4) in 0..1: the strip alone on its canvas, as it is exported."""
    with tempfile.TemporaryDirectory(prefix="wan-frame-") as folder:
        with solo.solo_scene(scene, strip) as alone:
            solo.write_png(alone, "RGBA", 8)
            path = next(iter(solo.render(alone, range(frame, frame + 1), Path(folder))))
        image = bpy.data.images.load(str(path))
        try:
            return read_image(image)
        finally:
            bpy.data.images.remove(image)


def read_image(image: bpy.types.Image) -> np.ndarray:
    """(H, W, channels) of an image datablock as it is displayed, top row first. Raises
    UnsupportedClip when it has no pixels."""
    width, height = image.size
    if not width * height:
        raise UnsupportedClip(
            f"The image {image.name!r} has no pixels.", "Check that its file is there."
        )
    pixels = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(height, width, image.channels)[::-1]
    if image.is_float and not image.colorspace_settings.is_data:
        _encode(pixels, image.alpha_mode in ("STRAIGHT", "PREMUL"))
    return pixels


def _encode(pixels: np.ndarray, is_premultiplied: bool) -> None:
    """Float images are held in linear light, and over black: to sRGB and straight, in place."""
    colors = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1]
    if is_premultiplied and pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1:]
        colors /= np.where(alpha > 0, alpha, 1)
    colors[:] = to_display(colors)


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
    for owner in compat.paint_colors(tools):
        owner.color = (BRUSH_GRAY,) * 3
