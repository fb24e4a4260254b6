# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import StringProperty

from ..host import outlook, properties
from ..timeline import compat
from .operator import WanOperator


class WAN_OT_fix_schedule(WanOperator, bpy.types.Operator):
    """Change the settings as this remark advises"""

    bl_idname = "wan.fix_schedule"
    bl_label = "Fix"
    bl_options = {"REGISTER", "UNDO"}

    rule: StringProperty(name="Rule", description="Which remark", options={"SKIP_SAVE"})

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        properties.assign(scene, outlook.fix_of(scene, self.rule))
