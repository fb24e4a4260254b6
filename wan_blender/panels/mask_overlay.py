# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws over the sequencer's preview what the mask would generate at the playhead, and says it in
words in the sidebar."""

from __future__ import annotations

import blf
import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader

from ..host.canvas_view import corners as corners_of
from ..host.interface import draw_wrapped
from ..host.state import host
from ..masks.preview import MaskPreview, Rect
from ..timeline import compat
from .base import WanPanel

GENERATED = (1.0, 0.45, 0.1)
FAINTEST, STRONGEST = 0.12, 0.5  # opacity of a cell of value 0 and 1
PARTLY = (1.0, 0.85, 0.2, 0.9)
CROP = (0.3, 0.8, 1.0, 0.9)
TEXT_POINTS = 11

_handle: object = None
_drawn: tuple[object, ...] = ()
_batches: list[tuple[gpu.types.GPUShader, gpu.types.GPUBatch, tuple | None]] = []


class WAN_PT_mask_overlay(WanPanel, bpy.types.Panel):
    bl_label = "Mask Overlay"
    bl_order = 5
    bl_options = {"DEFAULT_CLOSED"}

    def draw_header(self, context: bpy.types.Context) -> None:
        self.layout.prop(context.window_manager.wan_mask, "show", text="")

    def draw(self, context: bpy.types.Context) -> None:
        view, layout = host().mask_view, self.layout
        row = layout.row(align=True)
        if view.busy:
            row.progress(factor=view.fraction, text="Analysing the mask")
        else:
            text = "Update: the shot has changed" if view.stale else "Update"
            row.operator("wan.update_overlay", text=text, icon="FILE_REFRESH")
        if view.error:
            draw_wrapped(layout, context, str(view.error), "ERROR")
        scene = compat.sequencer_scene(context)
        if view.preview and view.scene == scene.name:
            column = layout.column(align=True)
            for line in describe(view.preview, scene.frame_current):
                column.label(text=line)
            for note in view.preview.notes:
                draw_wrapped(layout, context, note, "INFO")


def describe(preview: MaskPreview, frame: int) -> list[str]:
    """The numbers of what is drawn at ``frame``, one line each."""
    crop, grid = preview.crop, preview.crop.grid
    size = f"Model sees {crop.width} x {crop.height} px"
    if (grid.width, grid.height) != (crop.width, crop.height):
        size += f" at {grid.width} x {grid.height}"
    group = preview.group(frame)
    if group is None:
        return [size, "The playhead is outside the shot"]
    found, partly = preview.counts(frame)
    cells = f"{found} of {preview.cells[group].size} cells here"
    return [size, cells + (f", {partly} of them partly masked" if partly else "")]


def to_region(rects: np.ndarray, canvas: tuple[int, int], corners: tuple[Rect, ...]) -> np.ndarray:
    """Rectangles (n, 4) on the canvas, y down, to region pixels, y up. ``corners`` are the region's
    (x, y) of the canvas' lower left and upper right."""
    (left, bottom), (right, top) = corners
    scale = np.array([(right - left) / canvas[0], (bottom - top) / canvas[1]])
    return np.asarray(rects, float) * np.tile(scale, 2) + np.array([left, top] * 2)


def register() -> None:
    global _handle
    if not bpy.app.background:
        space = bpy.types.SpaceSequenceEditor
        _handle = space.draw_handler_add(_draw, (), "PREVIEW", "POST_PIXEL")


def unregister() -> None:
    global _handle, _drawn
    if _handle:
        bpy.types.SpaceSequenceEditor.draw_handler_remove(_handle, "PREVIEW")
    _handle, _drawn = None, ()
    _batches.clear()


def _draw() -> None:
    context, view = bpy.context, host().mask_view
    scene = compat.sequencer_scene(context)
    if not context.window_manager.wan_mask.show or view.preview is None:
        return
    if view.scene != scene.name or context.space_data.display_mode != "IMAGE":
        return
    corners = corners_of(scene, context.region)
    _make_batches(view.preview, scene.frame_current, corners)
    gpu.state.blend_set("ALPHA")
    for shader, batch, color in _batches:
        if color:
            shader.uniform_float("color", color)
        batch.draw(shader)
    _draw_text(context, view.preview, corners)
    gpu.state.blend_set("NONE")


def _make_batches(preview: MaskPreview, frame: int, corners: tuple[Rect, ...]) -> None:
    """Made only when another group, another mask or another zoom is shown."""
    global _drawn
    now = (id(preview), preview.group(frame), corners)
    if now == _drawn:
        return
    _drawn = now
    _batches.clear()
    crop = preview.crop
    found = preview.generated(frame)
    if found:
        rects, values, partly = zip(*found, strict=True)
        placed = to_region(np.array(rects), preview.canvas, corners)
        _batches.append(_filled(placed, np.array(values)))
        if any(partly):
            _batches.append(_outlined(placed[np.array(partly)], PARTLY))
    box = (crop.x, crop.y, crop.x + crop.width, crop.y + crop.height)
    _batches.append(_outlined(to_region(np.array([box]), preview.canvas, corners), CROP))


def _filled(rects: np.ndarray, values: np.ndarray) -> tuple:
    shader = gpu.shader.from_builtin("FLAT_COLOR")
    places = rects[:, [0, 1, 2, 1, 2, 3, 0, 1, 2, 3, 0, 3]].reshape(-1, 2)  # two triangles
    opacity = np.repeat(FAINTEST + (STRONGEST - FAINTEST) * values, 6)
    colors = np.column_stack([np.tile(GENERATED, (len(opacity), 1)), opacity])
    content = {"pos": places.astype("f4"), "color": colors.astype("f4")}
    return shader, batch_for_shader(shader, "TRIS", content), None


def _outlined(rects: np.ndarray, color: tuple[float, ...]) -> tuple:
    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    sides = [0, 1, 2, 1, 2, 1, 2, 3, 2, 3, 0, 3, 0, 3, 0, 1]
    places = rects[:, sides].reshape(-1, 2).astype("f4")
    return shader, batch_for_shader(shader, "LINES", {"pos": places}), color


def _draw_text(context: bpy.types.Context, preview: MaskPreview, corners: tuple[Rect, ...]) -> None:
    """The first line of the panel, in the crop's upper left corner."""
    crop = preview.crop
    box = np.array([(crop.x, crop.y, crop.x, crop.y)])
    x, y = to_region(box, preview.canvas, corners)[0, :2]
    scale = context.preferences.system.ui_scale
    blf.size(0, TEXT_POINTS * scale)
    blf.color(0, *CROP)
    blf.position(0, x + 5 * scale, y - 15 * scale, 0)
    blf.draw(0, describe(preview, context.scene.frame_current)[0])


CLASSES = (WAN_PT_mask_overlay,)
