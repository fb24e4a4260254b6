# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from .. import hygiene_view
from ..errors import NothingSelected
from ..timeline import compat
from .operator import WanOperator


class WAN_OT_treat_hygiene(WanOperator, bpy.types.Operator):
    """Blur the ticked sinks just enough to bring their detail to the level around them"""

    bl_idname = "wan.treat_hygiene"
    bl_label = "Treat Ticked"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("Open the matrix view of a clip first")
        view = hygiene_view.view()
        if view is not None and view.busy:
            cls.poll_message_set("The frame is still being looked at")
        return view is not None and not view.busy

    def run(self, context: bpy.types.Context) -> None:
        view = hygiene_view.require_view()
        chosen = view.ticked()
        if not chosen:
            raise NothingSelected("No sink is ticked.", "Tick what is to be blurred in the list.")
        scene = compat.sequencer_scene(context)
        view.keep_edges = scene.wan.hygiene.keep_edges
        view.treat(chosen, scene.wan.sampling.seed)
        if view.is_clip and scene.wan.hygiene.mode == "off":
            scene.wan.hygiene.mode = "soft"
