# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..core.errors import BadRequest
from ..host.library import library
from .online import Online
from .operator import WanOperator


class WAN_OT_fetch_model(Online, WanOperator, bpy.types.Operator):
    """Download this. It can be stopped and goes on later where it stopped"""

    bl_idname = "wan.fetch_model"
    bl_label = "Download"

    def run(self, context: bpy.types.Context) -> None:
        if library().offer is None:
            raise BadRequest("Nothing to download was chosen.", "Choose a model or a LoRA first.")
        library().fetch()
        if bpy.app.background:
            library().wait()
