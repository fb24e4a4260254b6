# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import EnumProperty, FloatProperty

from .. import matrix_view
from ..core.errors import UnsupportedClip
from ..hygiene.blur import MAX_RADIUS
from ..timeline.mattes import MatteChoice
from .add_matte import offer
from .on_view import ViewOperator


class WAN_OT_add_hygiene_matte(ViewOperator, bpy.types.Operator):
    """Blur lightly where a mask or another matte is white on this frame"""

    bl_idname = "wan.add_hygiene_matte"
    bl_label = "Blur Inside Matte"
    bl_options = {"REGISTER", "UNDO"}

    matte: EnumProperty(name="Matte", description="Where to blur", items=offer)
    radius: FloatProperty(
        name="Radius",
        description="Blur where the matte is white",
        default=1.0,
        min=0.0,
        max=MAX_RADIUS,
        subtype="PIXEL",
    )

    def run(self, context: bpy.types.Context) -> None:
        view = matrix_view.require_view()
        if not view.is_clip:
            raise UnsupportedClip(
                f"The image {view.name!r} is no clip and has no mattes.", "Select a clip."
            )
        choice = MatteChoice(self.matte)
        values = matrix_view.read_matte(view.scene, view.owner, choice, view.frame, view.part)
        view.add(self.radius * values)
