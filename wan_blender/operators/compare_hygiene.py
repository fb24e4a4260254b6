# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from .. import matrix_view
from ..host import properties
from ..timeline import compat, shot
from .generate import generate
from .operator import PlateOperator


class WAN_OT_compare_hygiene(PlateOperator, bpy.types.Operator):
    """Generate the selected clip twice with one seed, without hygiene and with it, as two strips, and measure what that did to motion, crawl and the first frame"""  # noqa: E501

    bl_idname = "wan.compare_hygiene"
    bl_label = "Generate With and Without"

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        settings = properties.read(scene)
        without = matrix_view.without_hygiene(settings)
        plate = shot.find_plate(scene)
        matrix_view.require_map(settings, plate)
        generate(scene, plate.name, settings, generate(scene, plate.name, without))
