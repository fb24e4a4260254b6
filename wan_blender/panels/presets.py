# SPDX-License-Identifier: GPL-3.0-or-later
"""Named sampling settings, in the header of their panel."""

from __future__ import annotations

import bpy
from bl_ui.utils import PresetPanel


class WAN_MT_sampling_presets(bpy.types.Menu):
    bl_label = "Sampling Presets"
    preset_subdir = "wan/sampling"
    preset_operator = "script.execute_preset"
    draw = bpy.types.Menu.draw_preset


class WAN_PT_sampling_presets(PresetPanel, bpy.types.Panel):
    bl_label = "Sampling Presets"
    preset_subdir = "wan/sampling"
    preset_operator = "script.execute_preset"
    preset_add_operator = "wan.add_sampling_preset"


def draw_in_header(panel: bpy.types.Panel, context: bpy.types.Context) -> None:
    WAN_PT_sampling_presets.draw_panel_header(panel.layout)
