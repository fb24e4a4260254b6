# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..host.library import library
from .operator import WanOperator


class WAN_OT_scan_models(WanOperator, bpy.types.Operator):
    """Look for Wan models in the folders of the preferences, the Hugging Face cache and ComfyUI's
    folders. Files are known by what is in them, whatever their names"""

    bl_idname = "wan.scan_models"
    bl_label = "Find Models"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("Models are being looked for")
        return library().progress("scan") is None

    def run(self, context: bpy.types.Context) -> None:
        library().scan()
        if bpy.app.background:
            library().wait()
