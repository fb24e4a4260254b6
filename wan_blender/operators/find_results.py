# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from .. import event_pump, preferences
from .operator import WanOperator


class WAN_OT_find_results(WanOperator, bpy.types.Operator):
    """Look in the job folder for results never placed and jobs never finished"""

    bl_idname = "wan.find_results"
    bl_label = "Find Earlier Results"

    def run(self, context: bpy.types.Context) -> None:
        root = preferences.jobs_root()
        count = event_pump.session().find_results(root)
        self.report({"INFO"}, f"{count} found in {root}.")
