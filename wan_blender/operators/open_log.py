# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..host import pump
from .operator import WanOperator


class WAN_OT_open_log(WanOperator, bpy.types.Operator):
    """Open the engine's log"""

    bl_idname = "wan.open_log"
    bl_label = "Open Log"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("The engine has not run yet")
        return pump.session().log.is_file()

    def run(self, context: bpy.types.Context) -> None:
        bpy.ops.wm.path_open(filepath=str(pump.session().log))
