# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..core.errors import BadRequest
from ..host.library import library
from .operator import WanOperator

WEIGHTS = (".safetensors", ".gguf")


class WAN_OT_open_model(WanOperator, bpy.types.Operator):
    """Choose a model folder, or a weight file to put a model together with"""

    bl_idname = "wan.open_model"
    bl_label = "Open Model"

    filepath: StringProperty(name="Path", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.safetensors;*.gguf;*.json", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        path = Path(bpy.path.abspath(self.filepath))
        if path.suffix.lower() in WEIGHTS:
            bpy.ops.wan.compose_model("INVOKE_DEFAULT", file=str(path))
            return
        folder = path if path.is_dir() else path.parent
        if not folder.is_dir():
            raise BadRequest(f"There is no folder {folder}.", "Choose a model folder.")
        library().describe(folder)
        if bpy.app.background:
            library().wait()
