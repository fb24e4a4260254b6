# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws over the sequencer's preview what a matte tool draws."""

from __future__ import annotations

import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader

from ..host.canvas_view import corners
from ..host.state import host
from ..timeline import compat
from ..timeline.shot import canvas_size

OUTLINE = (1.0, 0.62, 0.1, 1.0)
SHADOW = (0.0, 0.0, 0.0, 0.7)
KEEP, LEAVE = (0.25, 0.95, 0.35, 1.0), (1.0, 0.25, 0.25, 1.0)
WIDTH_PX = 2.0
MARK_PX = 5.0  # half a mark of a click

_handle: object = None


def register() -> None:
    global _handle
    if not bpy.app.background:
        space = bpy.types.SpaceSequenceEditor
        _handle = space.draw_handler_add(_draw, (), "PREVIEW", "POST_PIXEL")


def unregister() -> None:
    global _handle
    if _handle:
        bpy.types.SpaceSequenceEditor.draw_handler_remove(_handle, "PREVIEW")
    _handle = None


def _draw() -> None:
    context, sketch = bpy.context, host().sketch
    scene = compat.sequencer_scene(context)
    if sketch is None or sketch.scene != scene.name or context.space_data.display_mode != "IMAGE":
        return
    (left, bottom), (right, top) = corners(scene, context.region)
    width, height = canvas_size(scene)
    scale = np.array([(right - left) / width, (bottom - top) / height])
    gpu.state.blend_set("ALPHA")
    for line in sketch.lines:
        _line(line * scale + (left, top), OUTLINE, closed=True)
    for color, strokes in ((KEEP, sketch.keep), (LEAVE, sketch.leave)):
        for stroke in strokes:
            placed = stroke * scale + (left, top)
            _line(_cross(placed[0]) if len(placed) == 1 else placed, color)
    gpu.state.blend_set("NONE")


def _cross(centre: np.ndarray) -> np.ndarray:
    arms = np.array([(-1, 0), (1, 0), (0, 0), (0, -1), (0, 1)])
    return centre + MARK_PX * arms


def _line(points: np.ndarray, color: tuple[float, ...], closed: bool = False) -> None:
    """A line with a dark edge, so that it is seen on every picture."""
    if len(points) < 2:
        return
    path = np.concatenate([points, points[:1]]) if closed else points
    shader = gpu.shader.from_builtin("POLYLINE_UNIFORM_COLOR")
    batch = batch_for_shader(shader, "LINE_STRIP", {"pos": _flat(path)})
    shader.bind()
    shader.uniform_float("viewportSize", gpu.state.viewport_get()[2:])
    for shade, wide in ((SHADOW, WIDTH_PX + 2), (color, WIDTH_PX)):
        shader.uniform_float("lineWidth", wide * bpy.context.preferences.system.ui_scale)
        shader.uniform_float("color", shade)
        batch.draw(shader)


def _flat(path: np.ndarray) -> np.ndarray:
    return np.column_stack([path, np.zeros(len(path))]).astype("f4")
