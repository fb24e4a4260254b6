# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..host import preferences, pump
from .operator import WanOperator


class WAN_OT_find_results(WanOperator, bpy.types.Operator):
    """Look in the job folder, and in that of files not saved yet, for results never placed and jobs
    never finished"""

    bl_idname = "wan.find_results"
    bl_label = "Find Earlier Results"

    def run(self, context: bpy.types.Context) -> None:
        roots = preferences.jobs_roots()
        count = sum(pump.session().find_results(root) for root in roots)
        self.report({"INFO"}, f"{count} found in {' and '.join(map(str, roots))}.")
