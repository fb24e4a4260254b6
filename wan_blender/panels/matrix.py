# SPDX-License-Identifier: GPL-3.0-or-later
"""The start frame: its score, what glows in it, what is done about it, and what that did."""

from __future__ import annotations

import contextlib
from typing import Any

import bpy

from .. import matrix_view
from ..core import job
from ..core.answers import typed
from ..core.answers.hygiene import FrequencyReport, Takes, TreatmentReport
from ..core.errors import WanError
from ..core.result import RESULT
from ..host import blur_map
from ..host.interface import draw_wrapped
from ..host.state import host
from ..hygiene.matrix import traffic_light
from ..timeline import compat, shot
from ..timeline.takes import read_recipe
from .base import WanPanel, settings_column

LIGHTS = {
    "green": ("STRIP_COLOR_04", "leave it"),
    "amber": ("STRIP_COLOR_03", "look at it"),
    "red": ("STRIP_COLOR_01", "treat it"),
}
ROW_UNITS = 2.2  # height of a row of the list: its picture
MEASURES = (
    ("motion", "Motion", "px/frame", 2),
    ("crawl", "Crawl", "levels", 2),
    ("first_psnr", "First new frame", "dB", 1),
)


class WAN_UL_sinks(bpy.types.UIList):
    def draw_item(self, context, layout, data, item, icon, active_data, active_property):
        row = layout.row(align=True)
        row.template_icon(item.icon, scale=ROW_UNITS)
        column = row.column(align=True)
        top = column.row(align=True)
        top.prop(item, "treat", text="")
        top.label(text=f"{item.rank}. {item.name}")
        top.prop(item, "gentle", text="", icon="USER", emboss=item.gentle)
        column.label(
            text=f"Score {item.score:.0f}, {item.area} px", icon="ERROR" if item.warning else "NONE"
        )


class StartFramePanel:
    """Mixin: what both editors show."""

    bl_label = "Start Frame"
    bl_order = 4

    def draw(self, context: bpy.types.Context) -> None:
        layout, scene = self.layout, compat.sequencer_scene(context)
        layout.operator("wan.open_hygiene_view", icon="HIDE_OFF")
        self.draw_frame(layout, context, scene)
        column = settings_column(layout)
        hygiene = scene.wan.hygiene
        column.prop(hygiene, "mode")
        if hygiene.uses_map:
            column.prop(hygiene, "matte")
            column.prop(hygiene, "matte_blur_px")
        layout.operator("wan.compare_hygiene", icon="DUPLICATE")
        _draw_result(layout, context)


def _draw_unopened(
    layout: bpy.types.UILayout, context: bpy.types.Context, plate: bpy.types.Strip
) -> None:
    """What is known of a clip whose matrix view is not open."""
    scores = matrix_view.last_score(plate)
    if scores:
        _draw_score(layout, plate.name, *scores)
    else:
        layout.label(text=f"{plate.name}: not analysed yet", icon="QUESTION")
    others = blur_map.sharing(plate)
    if others:
        text = f"It shares its blur map with {', '.join(others)} until its own view is opened."
        draw_wrapped(layout, context, text, "INFO")
    layout.operator("wan.treat_hygiene", icon="BRUSHES_ALL")


def _draw_score(layout: bpy.types.UILayout, name: str, before: float, now: float) -> None:
    icon, advice = LIGHTS[traffic_light(now)]
    change = f"{before:.0f} of 100"
    if now != before:
        change += f", now {now:.0f}"
    layout.label(text=f"{name}: {change}: {advice}", icon=icon)


def _draw_view(
    layout: bpy.types.UILayout, context: bpy.types.Context, view: matrix_view.View
) -> None:
    settings = context.window_manager.wan_matrix
    _draw_score(layout, view.name, view.matrix.score, settings.score)
    if view.is_clip:
        _draw_mask(layout, context, view)
    else:
        text = "This image is not a clip. Its map goes into jobs that start from it."
        draw_wrapped(layout, context, text, "INFO")
    if view.matte and view.matte.error:
        draw_wrapped(layout, context, f"The matte is not followed. {view.matte.error}", "ERROR")
    layout.template_list("WAN_UL_sinks", "", settings, "sinks", settings, "active", rows=3)
    warned = [f"{item.rank}. {item.name}" for item in settings.sinks if item.warning]
    if warned:
        draw_wrapped(layout, context, f"Look at {', '.join(warned)}", "ERROR")
    if settings.active < len(settings.sinks):
        _draw_sink(layout, context, settings.sinks[settings.active])
    _draw_faces(layout, context, view)
    row = layout.row(align=True)
    row.operator("wan.treat_hygiene", icon="BRUSHES_ALL")
    row.operator("wan.clear_hygiene", text="", icon="X")
    layout.operator_menu_enum("wan.add_hygiene_matte", "matte", icon="MOD_MASK")
    _draw_frequencies(layout, view)


def _draw_mask(
    layout: bpy.types.UILayout, context: bpy.types.Context, view: matrix_view.View
) -> None:
    """Whether the view is of what the model sees, which the mask decides."""
    width, height = view.size
    x0, y0, x1, y1 = view.part.box
    if view.waits_for_mask:
        layout.progress(factor=host().mask_view.fraction, text="Analysing the mask")
    elif view.mask.needed and view.mask.seen is None:
        text = "The mask has not been analysed: this is the whole canvas."
        if view.mask.error:
            text += f" {view.mask.error}"
        draw_wrapped(layout, context, text, "ERROR")
        layout.operator("wan.update_overlay", text="Look at Mask", icon="MOD_MASK")
    elif not view.part.is_whole:
        layout.label(text=f"{x1 - x0} x {y1 - y0} px around the mask, at {width} x {height}")


def _draw_sink(
    layout: bpy.types.UILayout, context: bpy.types.Context, item: bpy.types.PropertyGroup
) -> None:
    _, _, width, height = item.box
    column = layout.column(align=True)
    column.scale_y = 0.8
    part = f"{item.share:.0%}" if item.share >= 0.01 else "less than 1%"
    column.label(text=f"{item.name} of {width} x {height} px, {part} of the glow")
    if item.radius:
        column.label(text=f"Blurred by {item.radius:.1f} px")
    if item.warning:
        draw_wrapped(layout, context, item.warning, "ERROR")


def _draw_faces(
    layout: bpy.types.UILayout, context: bpy.types.Context, view: matrix_view.View
) -> None:
    if view.questions.error:
        draw_wrapped(layout, context, str(view.questions.error), "ERROR")
    elif view.faces is None and not view.questions.busy:
        text = "Faces were not looked for: the engine is not installed. Untick them yourself."
        draw_wrapped(layout, context, text, "INFO")
    elif view.faces:
        count = len(view.faces)
        text = f"{count} face{'s' if count > 1 else ''} found: not ticked, treated gently"
        layout.label(text=text, icon="USER")


def _draw_frequencies(layout: bpy.types.UILayout, view: matrix_view.View) -> None:
    row = layout.row(align=True)
    row.operator("wan.report_frequencies", text="Compare Treated", icon="GRAPH").treated = True
    row.operator("wan.report_frequencies", text="Compare With...", icon="FILE_IMAGE")
    if view.report:
        _draw_report(layout.box(), view.report, view.compared)
    layout.operator("wan.save_treated_frame", icon="FILE_TICK")


def _draw_report(layout: bpy.types.UILayout, report: FrequencyReport, name: str) -> None:
    first, second = report.first, report.second
    column = layout.column(align=True)
    column.label(text=f"This frame and {name}")
    _draw_line(column, "Score", first.score, second.score, "", 0)
    for name, one, two in zip(report.bands, first.bands, second.bands):
        _draw_line(column, f"Detail of {name}", one, two, "", 2)
    show = layout.operator("wan.show_picture", text="Show Plot", icon="IMAGE_DATA")
    show.image = matrix_view.REPORT


def _draw_line(
    layout: bpy.types.UILayout,
    name: str,
    before: float | None,
    after: float | None,
    unit: str,
    digits: int,
) -> None:
    words = ["exact" if v is None else f"{v:.{digits}f}" for v in (before, after)]
    row = layout.row()
    row.label(text=name)
    value = row.row()
    value.alignment = "RIGHT"
    value.label(text=f"{words[0]} \N{RIGHTWARDS ARROW} {words[1]} {unit}".rstrip())


def _draw_result(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """How the active result strip was treated, and what the last pair of takes showed."""
    editor = compat.sequencer_scene(context).sequence_editor
    strip = editor.active_strip if editor else None
    recipe = read_recipe(strip) if strip else None
    if recipe and (treatment := _treatment_of(recipe)):
        _draw_treatment(layout.box(), context, strip.name, treatment)
    pairs = [local for local in host().session.jobs if local.report and local.report.takes]
    if pairs:
        _draw_takes(layout.box(), context, pairs[-1].folder, pairs[-1].report.takes)


def _treatment_of(recipe: dict[str, Any]) -> TreatmentReport | None:
    """Of a result strip, which may come from a file of somebody else."""
    with contextlib.suppress(ValueError):
        return typed.read(TreatmentReport, recipe.get("hygiene"), "hygiene")
    return None


def _draw_treatment(
    layout: bpy.types.UILayout, context: bpy.types.Context, name: str, treatment: TreatmentReport
) -> None:
    layout.label(text=f"{name}: {treatment.mode}", icon="MOD_SMOOTH")
    column = layout.column(align=True)
    if treatment.score_blurred is not None:
        _draw_line(column, "Score", treatment.score, treatment.score_blurred, "", 0)
        if treatment.blurred is not None and treatment.largest_radius is not None:
            share, most = treatment.blurred, treatment.largest_radius
            column.label(text=f"{share:.0%} blurred, by {most:.1f} px at most")
    if treatment.low_passed_steps and treatment.factor is not None:
        first, last = treatment.low_passed_steps
        column.label(text=f"Low-passed to {treatment.factor:.2g} in steps {first} to {last}")
    for note in treatment.notes:
        draw_wrapped(layout, context, note, "INFO")


def _draw_takes(
    layout: bpy.types.UILayout, context: bpy.types.Context, folder: Any, takes: Takes
) -> None:
    if takes.error:
        draw_wrapped(layout, context, f"The takes were not compared. {takes.error}", "ERROR")
        return
    layout.label(text=f"Without and with {takes.mode}, seed {takes.seed}", icon="DUPLICATE")
    column = layout.column(align=True)
    for key, name, unit, digits in MEASURES:
        before, after = getattr(takes.without, key, None), getattr(takes.treated, key, None)
        _draw_line(column, name, before, after, unit, digits)
    show = layout.operator("wan.show_picture", text="Show Contact Sheet", icon="IMAGE_DATA")
    show.filepath = str(folder / RESULT / job.TAKES)


class WAN_PT_start_frame(StartFramePanel, WanPanel, bpy.types.Panel):
    bl_options = {"DEFAULT_CLOSED"}

    def draw_frame(
        self, layout: bpy.types.UILayout, context: bpy.types.Context, scene: bpy.types.Scene
    ) -> None:
        """The selected clip's, never another's."""
        view = matrix_view.view()
        try:
            plate = shot.find_plate(scene)
        except WanError:  # the greyed button above says it
            return
        if view is not None and view.is_clip and view.owner == plate:
            _draw_view(layout, context, view)
        else:
            _draw_unopened(layout, context, plate)


class WAN_PT_start_frame_image(StartFramePanel, bpy.types.Panel):
    bl_space_type = "IMAGE_EDITOR"
    bl_region_type = "UI"
    bl_category = "Wan"

    def draw(self, context: bpy.types.Context) -> None:
        settings = context.window_manager.wan_matrix
        column = settings_column(self.layout)
        column.prop(settings, "view")
        if settings.view == "MATRIX":
            column.prop(settings, "band")
        if settings.view == "WIPE":
            column.prop(settings, "wipe", slider=True)
        super().draw(context)

    def draw_frame(
        self, layout: bpy.types.UILayout, context: bpy.types.Context, scene: bpy.types.Scene
    ) -> None:
        """That of the map in the editor; another image can be looked at."""
        view, image = matrix_view.view(), context.space_data.image
        if view is not None and image is not None and image == view.image:
            _draw_view(layout, context, view)
        elif image is not None and not blur_map.is_map(image):
            look = layout.operator("wan.open_hygiene_view", text=f"Look at {image.name}")
            look.image = image.name


CLASSES = (WAN_UL_sinks, WAN_PT_start_frame, WAN_PT_start_frame_image)
