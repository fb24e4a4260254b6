# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import StringProperty

from ..library import library
from ..timeline import compat
from .on_list import OnList
from .operator import WanOperator


class WAN_OT_add_lora(OnList, WanOperator, bpy.types.Operator):
    """Add this LoRA"""

    bl_idname = "wan.add_lora"
    bl_label = "Add LoRA"
    bl_options = {"REGISTER", "UNDO"}

    file: StringProperty(name="File", subtype="FILE_PATH", options={"SKIP_SAVE"})

    def run(self, context: bpy.types.Context) -> None:
        known = {lora["path"]: lora["expert"] for lora in library().files("lora")}
        item = self.items(compat.sequencer_scene(context)).add()
        item.file, item.expert = self.file, known.get(self.file) or "both"
