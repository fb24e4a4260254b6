# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
from dataclasses import replace

import bpy
from bpy.props import BoolProperty

from ..core import job
from ..core.errors import BadRequest
from ..timeline import compat
from ..timeline.place import find_place, place
from .on_job import OnJob
from .operator import WanOperator


class WAN_OT_place_result(OnJob, WanOperator, bpy.types.Operator):
    """Place the result as a strip over the shot it was made from"""

    bl_idname = "wan.place_result"
    bl_label = "Place Result"
    bl_options = {"REGISTER", "UNDO"}

    here: BoolProperty(
        name="Here",
        description="Place it in this scene, starting at the current frame",
        options={"SKIP_SAVE"},
    )

    def run(self, context: bpy.types.Context) -> None:
        local, result = self.finished_job()
        placement = local.placement
        if self.here:
            scene = compat.sequencer_scene(context)
            first = scene.frame_current - placement.trim_start
            placement = replace(placement, strip="", frame_start=first)
        else:
            scene = find_place(placement)
        if scene is None:
            raise BadRequest(
                f"The shot of {local.name!r} is not in this file any more.",
                "Choose Place at Playhead, or open the file it was made from.",
            )
        strip = place(scene, placement, result, local.name, local.recipe)
        with contextlib.suppress(OSError):  # at worst it is offered once more
            job.append_state(local.folder, "placed", scene=scene.name, strip=strip.name)
        local.placed = True
