# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..install import installation
from .operator import WanOperator


class WAN_OT_stop_installation(WanOperator, bpy.types.Operator):
    """Stop installing; what was fetched is kept, and the engine in use stays as it is"""

    bl_idname = "wan.stop_installation"
    bl_label = "Stop"

    def run(self, context: bpy.types.Context) -> None:
        if running := installation.current():
            running.cancel()
