# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from .. import hygiene_view
from .operator import WanOperator


class WAN_OT_clear_hygiene(WanOperator, bpy.types.Operator):
    """Make the blur map black again: nothing is blurred"""

    bl_idname = "wan.clear_hygiene"
    bl_label = "Clear Blur Map"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("Open the matrix view of a clip first")
        return hygiene_view.view() is not None

    def run(self, context: bpy.types.Context) -> None:
        hygiene_view.require_view().clear()
