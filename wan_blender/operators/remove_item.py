# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import IntProperty

from ..timeline import compat
from .on_list import OnList
from .operator import WanOperator


class WAN_OT_remove_item(OnList, WanOperator, bpy.types.Operator):
    """Remove this from its list"""

    bl_idname = "wan.remove_item"
    bl_label = "Remove"
    bl_options = {"REGISTER", "UNDO"}

    index: IntProperty(name="Index", description="Which item of the list", min=0)

    def run(self, context: bpy.types.Context) -> None:
        self.items(compat.sequencer_scene(context)).remove(self.index)
