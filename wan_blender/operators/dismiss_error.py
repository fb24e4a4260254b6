# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from .. import event_pump
from .operator import WanOperator


class WAN_OT_dismiss_error(WanOperator, bpy.types.Operator):
    """Hide this message"""

    bl_idname = "wan.dismiss_error"
    bl_label = "Dismiss"

    def run(self, context: bpy.types.Context) -> None:
        event_pump.session().error = None
