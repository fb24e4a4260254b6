# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..timeline import compat
from .on_list import OnList
from .operator import WanOperator


class WAN_OT_add_item(OnList, WanOperator, bpy.types.Operator):
    """Add one more to this list"""

    bl_idname = "wan.add_item"
    bl_label = "Add"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        self.items(compat.sequencer_scene(context)).add()
