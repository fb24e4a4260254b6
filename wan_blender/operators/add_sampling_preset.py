# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bl_operators.presets import AddPresetBase

from ..core import schema
from ..core.settings import Sampling


class WAN_OT_add_sampling_preset(AddPresetBase, bpy.types.Operator):
    """Keep the sampling settings, without the seed, under a name"""

    bl_idname = "wan.add_sampling_preset"
    bl_label = "Add Sampling Preset"
    preset_menu = "WAN_MT_sampling_presets"
    preset_subdir = "wan/sampling"
    # Written into the preset, which Blender runs as a script of its own.
    preset_defines = [
        "scene = getattr(bpy.context, 'sequencer_scene', None) or bpy.context.scene",
        "sampling = scene.wan.sampling",
    ]
    preset_values = [f"sampling.{name}" for name, _ in schema.settings(Sampling) if name != "seed"]
