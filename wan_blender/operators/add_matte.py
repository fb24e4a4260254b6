# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import EnumProperty

from ..core.errors import WanError
from ..timeline import compat, mattes, shot
from .operator import WanOperator

ICONS = {
    "mask_strip": "MOD_MASK",
    "modifier": "MODIFIER",
    "strip": "SEQUENCE",
    "mask": "MOD_MASK",
    "compositor": "NODE_COMPOSITING",
    "canvas": "FULLSCREEN_ENTER",
}
_offered: list[tuple] = []  # Blender keeps no reference to an enum's texts


def offer(self: bpy.types.Operator, context: bpy.types.Context | None) -> list[tuple]:
    """The mattes of the selected clip, as the items of an enum."""
    if context is None:
        return []
    scene = compat.sequencer_scene(context)
    try:
        found = mattes.list_mattes(scene, shot.find_plate(scene))
    except WanError:
        found = []
    _offered[:] = [
        (m.id, m.label, m.kind.replace("_", " ").capitalize(), ICONS[m.kind], number)
        for number, m in enumerate(found)
    ]
    return _offered


class WAN_OT_add_matte(WanOperator, bpy.types.Operator):
    """Choose what says where to generate in the selected strip"""

    bl_idname = "wan.add_matte"
    bl_label = "Add Matte"
    bl_options = {"REGISTER", "UNDO"}

    matte: EnumProperty(name="Matte", description="What to use as a matte", items=offer)

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        item = scene.wan.mattes.add()
        item.plate = shot.find_plate(scene).name
        item.matte = self.matte
