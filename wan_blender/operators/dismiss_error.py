# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..host import pump
from .operator import WanOperator


class WAN_OT_dismiss_error(WanOperator, bpy.types.Operator):
    """Hide this message"""

    bl_idname = "wan.dismiss_error"
    bl_label = "Dismiss"

    def run(self, context: bpy.types.Context) -> None:
        pump.session().error = None
