# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from .. import matrix_view
from ..core.errors import NothingSelected
from .on_view import ViewOperator


class WAN_OT_treat_hygiene(ViewOperator, bpy.types.Operator):
    """Blur the ticked sinks just enough to bring their detail to the level around them"""

    bl_idname = "wan.treat_hygiene"
    bl_label = "Treat Ticked"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        cls.poll_message_set("The frame is still being looked at")
        return not matrix_view.view().busy

    def run(self, context: bpy.types.Context) -> None:
        view = matrix_view.require_view()
        chosen = view.sinks.ticked()
        if not chosen:
            raise NothingSelected("No sink is ticked.", "Tick what is to be blurred in the list.")
        view.treat(chosen, view.scene.wan.sampling.seed)
