# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..host import pump
from .on_job import OnJob
from .operator import WanOperator


class WAN_OT_cancel(OnJob, WanOperator, bpy.types.Operator):
    """Stop this job; a running one stops after the step it is in"""

    bl_idname = "wan.cancel"
    bl_label = "Cancel"

    def run(self, context: bpy.types.Context) -> None:
        pump.session().cancel(self.local_job())
