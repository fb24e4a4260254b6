# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the open matrix view over the blur map in the Image Editor."""

from __future__ import annotations

import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader

from .. import matrix_view

FRAME_COLOR = (1.0, 0.55, 0.1, 1.0)

_handle: object = None
_drawn: tuple[object, ...] = ()
_texture: gpu.types.GPUTexture | None = None


def register() -> None:
    global _handle
    if not bpy.app.background:
        _handle = bpy.types.SpaceImageEditor.draw_handler_add(_draw, (), "WINDOW", "POST_PIXEL")


def unregister() -> None:
    global _handle, _texture, _drawn
    if _handle:
        bpy.types.SpaceImageEditor.draw_handler_remove(_handle, "WINDOW")
    _handle, _texture, _drawn = None, None, ()


def _draw() -> None:
    view, context = matrix_view.view(), bpy.context
    settings = context.window_manager.wan_matrix
    image = context.space_data.image
    if view is None or image is None or image != view.image or settings.view == "MAP":
        return
    at = context.region.view2d.view_to_region
    x0, y0, x1, y1 = view.part.on_canvas((0, 0, *view.size))
    (left, bottom), (right, top) = at(x0, 1 - y1, clip=False), at(x1, 1 - y0, clip=False)
    corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
    shader = gpu.shader.from_builtin("IMAGE")
    batch = batch_for_shader(
        shader, "TRI_FAN", {"pos": corners, "texCoord": [(0, 0), (1, 0), (1, 1), (0, 1)]}
    )
    shader.uniform_sampler("image", _upload(view, settings))
    batch.draw(shader)
    _frame_active(settings, view, (left, top), ((right - left), (top - bottom)))


def _upload(view: matrix_view.View, settings: bpy.types.PropertyGroup) -> gpu.types.GPUTexture:
    """The picture as a texture, made only when it has changed."""
    global _texture, _drawn
    shown = (settings.view, settings.wipe, settings.band)
    now = (view, view.version, *shown)
    if _texture is None or now != _drawn:
        picture = view.picture(*shown)[::-1]
        height, width = picture.shape[:2]
        pixels = np.ones((height, width, 4), np.float32)
        pixels[..., :3] = picture
        buffer = gpu.types.Buffer("FLOAT", width * height * 4, pixels.ravel())
        _texture = gpu.types.GPUTexture((width, height), format="RGBA16F", data=buffer)
        _drawn = now
    return _texture


def _frame_active(
    settings: bpy.types.PropertyGroup,
    view: matrix_view.View,
    corner: tuple[float, float],
    size: tuple[float, float],
) -> None:
    """A thin frame around the sink that is chosen in the list."""
    if not settings.sinks or settings.active >= len(settings.sinks):
        return
    height, width = view.rgb.shape[:2]
    x, y, w, h = settings.sinks[settings.active].box
    xs = [corner[0] + size[0] * v / width for v in (x, x + w)]
    ys = [corner[1] - size[1] * v / height for v in (y, y + h)]
    path = [(xs[0], ys[0]), (xs[1], ys[0]), (xs[1], ys[1]), (xs[0], ys[1]), (xs[0], ys[0])]
    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    shader.uniform_float("color", FRAME_COLOR)
    batch_for_shader(shader, "LINE_STRIP", {"pos": path}).draw(shader)
