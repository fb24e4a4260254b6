# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..errors import InvalidJob
from ..timeline import compat
from .generate import WAN_OT_generate, generate
from .operator import WanOperator


class WAN_OT_compare_hygiene(WanOperator, bpy.types.Operator):
    """Generate the selected clip twice with one seed, without hygiene and with it, as two strips"""

    bl_idname = "wan.compare_hygiene"
    bl_label = "Generate With and Without"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return WAN_OT_generate.poll.__func__(cls, context)

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        hygiene = scene.wan.hygiene
        chosen = hygiene.mode
        if chosen == "off":
            raise InvalidJob(
                "Hygiene is off, so both takes would be the same.",
                "Choose what the model is to see under Mode.",
            )
        try:
            hygiene.mode = "off"
            generate(scene, "")
        finally:
            hygiene.mode = chosen
        generate(scene, "")
