# SPDX-License-Identifier: GPL-3.0-or-later
"""The start frame: its score, what glows in it, and what is done about it."""

from __future__ import annotations

import bpy

from .. import hygiene_view
from ..hygiene.matrix import traffic_light
from ..timeline import compat
from .layout import WanPanel, draw_wrapped

LIGHTS = {
    "green": ("STRIP_COLOR_04", "leave it"),
    "amber": ("STRIP_COLOR_03", "look at it"),
    "red": ("STRIP_COLOR_01", "treat it"),
}


class WAN_UL_hygiene(bpy.types.UIList):
    def draw_item(self, context, layout, data, item, icon, active_data, active_property):
        row = layout.row(align=True)
        row.prop(item, "treat", text="")
        row.label(text=item.name)
        share = row.row()
        share.alignment = "RIGHT"
        blur = f"{item.radius:.1f} px  " if item.radius else ""
        part = f"{item.share:.0%}" if item.share >= 0.01 else "< 1%"
        share.label(text=blur + part, icon="ERROR" if item.warning else "NONE")


class StartFramePanel:
    """Mixin: what both editors show."""

    bl_label = "Start Frame"
    bl_order = 4

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        settings = context.window_manager.wan_hygiene
        layout.operator("wan.open_hygiene_view", icon="HIDE_OFF")
        view = hygiene_view.view()
        if view is None or view.image is None:
            return
        icon, advice = LIGHTS[traffic_light(settings.score)]
        change = f"{view.matrix.score:.0f} of 100"
        if view.version:
            change += f", now {settings.score:.0f}"
        layout.label(text=f"{settings.plate}: {change}: {advice}", icon=icon)
        layout.template_list("WAN_UL_hygiene", "", settings, "sinks", settings, "active", rows=4)
        if settings.active < len(settings.sinks):
            _draw_sink(layout, context, settings.sinks[settings.active])
        row = layout.row(align=True)
        row.operator("wan.treat_hygiene", icon="BRUSHES_ALL")
        row.operator("wan.clear_hygiene", text="", icon="X")
        layout.operator_menu_enum("wan.add_hygiene_matte", "matte", icon="MOD_MASK")
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(compat.sequencer_scene(context).wan.hygiene, "mode")
        layout.operator("wan.compare_hygiene", icon="DUPLICATE")


def _draw_sink(
    layout: bpy.types.UILayout, context: bpy.types.Context, item: bpy.types.PropertyGroup
) -> None:
    _, _, width, height = item.box
    layout.label(text=f"{width} x {height} px, {item.area} px in all, glow {item.score:.0f}")
    if item.warning:
        draw_wrapped(layout, context, item.warning, "ERROR")


class WAN_PT_start_frame(StartFramePanel, WanPanel, bpy.types.Panel):
    bl_options = {"DEFAULT_CLOSED"}


class WAN_PT_start_frame_image(StartFramePanel, bpy.types.Panel):
    bl_space_type = "IMAGE_EDITOR"
    bl_region_type = "UI"
    bl_category = "Wan"

    def draw(self, context: bpy.types.Context) -> None:
        settings = context.window_manager.wan_hygiene
        column = self.layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(settings, "view")
        if settings.view == "WIPE":
            column.prop(settings, "wipe", slider=True)
        super().draw(context)


CLASSES = (WAN_UL_hygiene, WAN_PT_start_frame, WAN_PT_start_frame_image)
