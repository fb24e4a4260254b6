# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import StringProperty

from ..host.library import library
from ..timeline import compat
from .operator import WanOperator


class WAN_OT_use_model(WanOperator, bpy.types.Operator):
    """Generate with this model"""

    bl_idname = "wan.use_model"
    bl_label = "Use Model"
    bl_options = {"REGISTER", "UNDO"}

    path: StringProperty(
        name="Path",
        description="Model folder; empty and nano/... are bundled models",
        options={"SKIP_SAVE"},
    )
    stage: bpy.props.IntProperty(
        name="Stage",
        description="Stage that uses it; -1 is the whole run",
        default=-1,
        min=-1,
        options={"SKIP_SAVE"},
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties):
        model = library().model(properties.path)
        return f"{', '.join(model['tasks']).capitalize()}" if model else cls.__doc__

    def run(self, context: bpy.types.Context) -> None:
        wan = compat.sequencer_scene(context).wan
        owner = wan.stages[self.stage] if 0 <= self.stage < len(wan.stages) else None
        if owner is None:
            wan.model.path = self.path
        else:
            owner.model = self.path
