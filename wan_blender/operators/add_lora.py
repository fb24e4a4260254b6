# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..core.errors import BadRequest
from ..model_info.names import expert_of
from ..timeline import compat
from .on_list import OnList
from .operator import WanOperator


class WAN_OT_add_lora(OnList, WanOperator, bpy.types.Operator):
    """Add a LoRA: to the run for the expert that its name says, to a stage as it is"""

    bl_idname = "wan.add_lora"
    bl_label = "Add LoRA"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(name="File", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.safetensors", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        file = Path(self.filepath)
        if file.suffix.lower() != ".safetensors":
            raise BadRequest(f"{self.filepath!r} is no LoRA.", "Choose a .safetensors file.")
        item = self.items(compat.sequencer_scene(context)).add()
        of_run = self.path == "loras"  # a stage's expert may be called otherwise than the file's
        item.file, item.expert = self.filepath, (of_run and expert_of(file)) or "both"
