# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..host import pump
from .operator import WanOperator


class WAN_OT_stop_engine(WanOperator, bpy.types.Operator):
    """Stop the engine and free its memory; its jobs can be run again"""

    bl_idname = "wan.stop_engine"
    bl_label = "Stop Engine"

    def run(self, context: bpy.types.Context) -> None:
        pump.session().stop_engine()
