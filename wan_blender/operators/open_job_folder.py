# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from .on_job import OnJob
from .operator import WanOperator


class WAN_OT_open_job_folder(OnJob, WanOperator, bpy.types.Operator):
    """Show the job's folder: its frames, its log and its report"""

    bl_idname = "wan.open_job_folder"
    bl_label = "Open Job Folder"

    def run(self, context: bpy.types.Context) -> None:
        bpy.ops.wm.path_open(filepath=str(self.local_job().folder))
