# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import EnumProperty

from ..timeline import compat
from .operator import WanOperator


class WAN_OT_limit_frames(WanOperator, bpy.types.Operator):
    """Use the mask only on some frames of the timeline"""

    bl_idname = "wan.limit_frames"
    bl_label = "Limit Frames"
    bl_options = {"REGISTER", "UNDO"}

    which: EnumProperty(
        name="Which",
        description="Which frames the mask is used on",
        items=[
            ("from", "From Playhead", "Only the frame at the playhead and those after it"),
            ("until", "Until Playhead", "Only the frame at the playhead and those before it"),
            ("at", "At Playhead", "Only the frame at the playhead"),
            ("all", "All Frames", "Every frame that the mask has"),
        ],
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties):
        items = cls.bl_rna.properties["which"].enum_items
        return items[properties.which].description

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        now = scene.frame_current
        texts = {"from": f"{now}..", "until": f"..{now}", "at": f"{now}..{now}", "all": ""}
        scene.wan.mask.frames = texts[self.which]
