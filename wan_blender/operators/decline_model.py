# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..host.library import library
from .operator import WanOperator


class WAN_OT_decline_model(WanOperator, bpy.types.Operator):
    """Do not download this; what has arrived already stays"""

    bl_idname = "wan.decline_model"
    bl_label = "Not Now"

    def run(self, context: bpy.types.Context) -> None:
        library().decline()
