# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
from bpy.props import EnumProperty, FloatProperty

from .. import hygiene_view
from ..hygiene.blur import MAX_RADIUS
from ..timeline import compat, shot
from ..timeline.matte_render import open_matte
from ..timeline.mattes import MatteChoice
from .add_matte import offer
from .open_hygiene_view import frame_of
from .operator import WanOperator


class WAN_OT_add_hygiene_matte(WanOperator, bpy.types.Operator):
    """Blur lightly where a mask or another matte is white on this frame"""

    bl_idname = "wan.add_hygiene_matte"
    bl_label = "Blur Inside Matte"

    matte: EnumProperty(name="Matte", description="Where to blur", items=offer)
    radius: FloatProperty(
        name="Radius",
        description="Blur where the matte is white",
        default=1.0,
        min=0.0,
        max=MAX_RADIUS,
        subtype="PIXEL",
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("Open the matrix view of a clip first")
        return hygiene_view.view() is not None

    def run(self, context: bpy.types.Context) -> None:
        view, scene = hygiene_view.require_view(), compat.sequencer_scene(context)
        values = _read_matte(scene, shot.find_plate(scene, view.name), self.matte)
        view.add(self.radius * np.broadcast_to(values, view.radius.shape))


def _read_matte(scene: bpy.types.Scene, plate: bpy.types.Strip, matte: str) -> np.ndarray | float:
    """(H, W) in 0..1: the matte on the frame that the view shows."""
    choice = MatteChoice(matte)
    request = shot.read_shot(scene, plate, [choice])
    one = replace(request, frame_start=frame_of(scene, plate), frame_count=1)
    with (
        tempfile.TemporaryDirectory(prefix="wan-matte-") as folder,
        open_matte(scene, plate, one, choice, Path(folder) / "matte") as values,
    ):
        return next(iter(values))
