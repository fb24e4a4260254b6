# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import BoolProperty, IntProperty

from ..timeline import compat
from .on_list import OnList
from .operator import WanOperator


class WAN_OT_move_item(OnList, WanOperator, bpy.types.Operator):
    """Move this up or down its list"""

    bl_idname = "wan.move_item"
    bl_label = "Move"
    bl_options = {"REGISTER", "UNDO"}

    index: IntProperty(name="Index", description="Which item of the list", min=0)
    up: BoolProperty(name="Up", description="Towards the start of the list")

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        items, target = self.items(scene), self.index + (-1 if self.up else 1)
        if 0 <= target < len(items):
            items.move(self.index, target)
            if self.path == "stages":
                scene.wan.active_stage = target
