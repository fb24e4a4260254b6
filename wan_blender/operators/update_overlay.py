# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..host import mask_view
from ..timeline import compat
from .operator import PlateOperator


class WAN_OT_update_overlay(PlateOperator, bpy.types.Operator):
    """Look at the selected clip's mask as it is now and show what it would generate"""

    bl_idname = "wan.update_overlay"
    bl_label = "Update Overlay"

    def run(self, context: bpy.types.Context) -> None:
        context.window_manager.wan_mask.show = True
        mask_view.view().start(compat.sequencer_scene(context))
