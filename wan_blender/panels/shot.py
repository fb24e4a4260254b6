# SPDX-License-Identifier: GPL-3.0-or-later
"""Which strip is worked on, and what says where."""

from __future__ import annotations

import bpy

from ..core.errors import EmptyMask, WanError
from ..host import properties, tasks
from ..host.interface import draw_wrapped
from ..timeline import compat, mattes, shot
from ..timeline.span import Span, lay_out
from ..timeline.takes import holder, read_recipe
from .base import WanPanel, settings_column
from .matte import draw_new_matte

# Of each kind of frames, the settings that matter.
SPAN_SETTINGS = {
    "strip": (),
    "extend": ("before", "after", "context"),
    "bridge": ("context", "cut"),
    "still": ("frame", "hold"),
}


class WAN_PT_shot(WanPanel, bpy.types.Panel):
    bl_label = "Shot"
    bl_order = 0

    def draw(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        try:
            plate = shot.find_plate(scene)
        except WanError as error:
            draw_wrapped(self.layout, context, str(error), "INFO")
            return
        _draw_plate(self.layout, scene, plate)
        if read_recipe(holder(plate)):
            self.layout.operator("wan.run_again", icon="FILE_REFRESH")
        _draw_tasks(self.layout)
        span = properties.chosen_span(scene, plate.name)
        if span.kind != "strip":
            _draw_span(self.layout, context, scene, plate, span)
        _draw_mattes(self.layout, context, scene, plate)
        _draw_notes(self.layout, context, scene, plate, span)
        _draw_limit(self.layout, scene)


def _draw_tasks(layout: bpy.types.UILayout) -> None:
    grid = layout.grid_flow(row_major=True, columns=2, even_columns=True, align=True)
    for name, task in tasks.TASKS.items():
        grid.operator("wan.setup_task", text=task.label).task = name


def _draw_span(
    layout: bpy.types.UILayout,
    context: bpy.types.Context,
    scene: bpy.types.Scene,
    plate: bpy.types.Strip,
    span: Span,
) -> None:
    """The frames of a shot that are not just the strip's, and how to change them."""
    column = settings_column(layout.box())
    for name in SPAN_SETTINGS[span.kind]:
        column.prop(scene.wan.span, name)
    try:
        planned = lay_out(scene, plate, span)
    except WanError:  # _draw_notes says it
        return
    frames = f"Frames {planned.frames.start} to {planned.frames.stop - 1}"
    shown = sum(part.frame_count for part in planned.parts)
    text = f"{frames}, {len(planned.frames) - shown} of them new"
    if span.kind == "still":
        text = f"Frame {planned.frames.start}, shown for {planned.hold} frames"
    draw_wrapped(column, context, text, "TIME")


def _draw_notes(
    layout: bpy.types.UILayout,
    context: bpy.types.Context,
    scene: bpy.types.Scene,
    plate: bpy.types.Strip,
    span: Span,
) -> None:
    """What the result will be like that the user may not expect, or why there cannot be one."""
    choices = properties.chosen_mattes(scene, plate.name) or None
    try:
        notes = shot.foretell(scene, plate, choices, span, scene.wan.output.place)
    except EmptyMask:  # which the mattes say
        return
    except WanError as error:
        draw_wrapped(layout, context, f"{error} {error.hint}", "ERROR")
        return
    for note in notes:
        draw_wrapped(layout, context, note, "INFO")


def _draw_limit(layout: bpy.types.UILayout, scene: bpy.types.Scene) -> None:
    row = layout.row(align=True)
    row.prop(scene.wan.mask, "frames", text="", placeholder="All frames", icon="PREVIEW_RANGE")
    for which, icon in (("until", "REW"), ("at", "DOT"), ("from", "FF"), ("all", "X")):
        row.operator("wan.limit_frames", text="", icon=icon).which = which


def _draw_plate(layout: bpy.types.UILayout, scene: bpy.types.Scene, plate: bpy.types.Strip) -> None:
    width, height = shot.canvas_size(scene)
    fps = float(shot.frame_rate(scene))
    column = layout.column(align=True)
    column.label(text=plate.name, icon="SEQUENCE")
    column.label(
        text=f"{compat.length(plate)} frames, {width} x {height}, {fps:.5g} fps",
        icon="BLANK1",
    )


def _draw_mattes(
    layout: bpy.types.UILayout,
    context: bpy.types.Context,
    scene: bpy.types.Scene,
    plate: bpy.types.Strip,
) -> None:
    known = {matte.id: matte for matte in mattes.list_mattes(scene, plate)}
    chosen = [(i, item) for i, item in enumerate(scene.wan.mattes) if item.plate == plate.name]
    box = layout.column(align=True)
    for place, (index, item) in enumerate(chosen):
        _draw_chosen(box, known.get(item.matte), item, index, first=place == 0)
    if not chosen:
        try:
            for choice in mattes.resolve(scene, plate, None):
                box.label(text=known[choice.id].label, icon="MOD_MASK")
        except WanError as error:
            draw_wrapped(box, context, error.message, "INFO")
    draw_new_matte(layout)
    layout.operator_menu_enum("wan.add_matte", "matte", text="Choose Matte", icon="ADD")


def _draw_chosen(
    layout: bpy.types.UILayout,
    matte: mattes.Matte | None,
    item: bpy.types.PropertyGroup,
    index: int,
    first: bool,
) -> None:
    row = layout.row(align=True)
    name = row.row()
    name.alert = matte is None
    name.label(
        text=matte.label if matte else f"{item.matte.partition(':')[2]} is gone",
        icon="MOD_MASK" if matte else "ERROR",
    )
    if matte is None or matte.kind != "canvas":
        row.prop(item, "channel", text="")
    operation = row.row(align=True)
    operation.enabled = not first
    operation.prop(item, "operation", text="")
    row.operator("wan.remove_matte", text="", icon="X").index = index
