# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..host import pump
from .on_job import OnJob
from .operator import WanOperator


class WAN_OT_dismiss_job(OnJob, WanOperator, bpy.types.Operator):
    """Take this job off the list; its folder stays on disk"""

    bl_idname = "wan.dismiss_job"
    bl_label = "Dismiss"

    def run(self, context: bpy.types.Context) -> None:
        pump.session().dismiss(self.local_job())
