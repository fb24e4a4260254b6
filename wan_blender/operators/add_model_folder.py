# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import StringProperty

from ..host import preferences
from .operator import WanOperator


class WAN_OT_add_model_folder(WanOperator, bpy.types.Operator):
    """Look for models in one more folder, for instance ComfyUI's models"""

    bl_idname = "wan.add_model_folder"
    bl_label = "Add Folder"

    directory: StringProperty(name="Folder", subtype="DIR_PATH", options={"SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        preferences.get().model_folders.add().path = self.directory
        context.preferences.is_dirty = True
