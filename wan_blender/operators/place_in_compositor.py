# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..timeline import compat
from ..timeline.compositor import place_in_compositor
from ..timeline.place import find_place
from .on_job import OnJob
from .operator import WanOperator


class WAN_OT_place_in_compositor(OnJob, WanOperator, bpy.types.Operator):
    """Lay the result over what the compositor of its scene shows, on the frames of its shot"""

    bl_idname = "wan.place_in_compositor"
    bl_label = "Place in Compositor"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        local, result = self.finished_job()
        # Where the shot is gone, the user has chosen this scene instead.
        scene = find_place(local.placement) or compat.sequencer_scene(context)
        place_in_compositor(scene, local.placement, result, local.name)
