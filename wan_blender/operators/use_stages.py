# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import EnumProperty

from ..host import outlook, properties
from ..schedule.presets import PRESETS, preset
from ..timeline import compat
from .operator import WanOperator


class WAN_OT_use_stages(WanOperator, bpy.types.Operator):
    """Set up the stages of the run as practised"""

    bl_idname = "wan.use_stages"
    bl_label = "Use Stages"
    bl_options = {"REGISTER", "UNDO"}

    preset: EnumProperty(
        name="Preset",
        description="How the run is split",
        items=[(name, title, about) for name, (title, about, *_) in PRESETS.items()],
    )

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        path = bpy.path.abspath(scene.wan.model.path)
        traits = outlook.read_traits(path)
        boundary = traits.boundary if traits else None
        properties.assign(scene, preset(self.preset, boundary, outlook.fast_loras(path)))
        scene.wan.active_stage = 0
