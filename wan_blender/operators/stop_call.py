# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import StringProperty

from ..host.library import library
from .operator import WanOperator


class WAN_OT_stop_call(WanOperator, bpy.types.Operator):
    """Stop this; what is done so far is kept"""

    bl_idname = "wan.stop_call"
    bl_label = "Stop"

    name: StringProperty(
        name="Name", description="What to stop: scan, fetch", options={"SKIP_SAVE"}
    )

    def run(self, context: bpy.types.Context) -> None:
        library().cancel(self.name)
