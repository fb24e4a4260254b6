# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import IntProperty

from ..timeline import compat
from .operator import WanOperator


class WAN_OT_remove_matte(WanOperator, bpy.types.Operator):
    """Choose this matte no longer"""

    bl_idname = "wan.remove_matte"
    bl_label = "Remove Matte"
    bl_options = {"REGISTER", "UNDO"}

    index: IntProperty(name="Index", description="Which of the chosen mattes", min=0)

    def run(self, context: bpy.types.Context) -> None:
        compat.sequencer_scene(context).wan.mattes.remove(self.index)
