# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from .. import matrix_view
from .on_view import ViewOperator


class WAN_OT_clear_hygiene(ViewOperator, bpy.types.Operator):
    """Make the blur map black again: nothing is blurred"""

    bl_idname = "wan.clear_hygiene"
    bl_label = "Clear Blur Map"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        matrix_view.require_view().clear()
