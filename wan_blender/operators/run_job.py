# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import bpy

from ..host import pump
from ..host.printed_progress import PrintedProgress
from .on_job import OnJob
from .operator import WanOperator


class WAN_OT_run_job(OnJob, WanOperator, bpy.types.Operator):
    """Run a job that failed or was interrupted, from the frames already exported"""

    bl_idname = "wan.run_job"
    bl_label = "Run Again"

    def run(self, context: bpy.types.Context) -> None:
        session = pump.session()
        local = session.run_folder(Path(self.folder))
        if bpy.app.background:
            session.wait(local, PrintedProgress())
