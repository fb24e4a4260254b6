# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import IntProperty

from ..host import preferences
from .operator import WanOperator


class WAN_OT_remove_model_folder(WanOperator, bpy.types.Operator):
    """Look no longer in this folder; nothing in it is touched"""

    bl_idname = "wan.remove_model_folder"
    bl_label = "Remove Folder"

    index: IntProperty(name="Index", description="Which folder of the list", min=0)

    def run(self, context: bpy.types.Context) -> None:
        preferences.get().model_folders.remove(self.index)
        context.preferences.is_dirty = True
