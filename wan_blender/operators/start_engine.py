# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..host import pump
from .operator import WanOperator


class WAN_OT_start_engine(WanOperator, bpy.types.Operator):
    """Start the engine now, so that the first job need not wait for it"""

    bl_idname = "wan.start_engine"
    bl_label = "Start Engine"

    def run(self, context: bpy.types.Context) -> None:
        pump.session().start_engine()
