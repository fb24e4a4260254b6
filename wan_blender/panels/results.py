# SPDX-License-Identifier: GPL-3.0-or-later
"""What has ended: results to place, jobs to run again."""

from __future__ import annotations

import bpy

from .. import event_pump
from ..local_job import LocalJob, Phase
from ..timeline.place import find_place
from .layout import WanPanel


class WAN_PT_results(WanPanel, bpy.types.Panel):
    bl_label = "Results"
    bl_order = 3
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column(align=True)
        for local in reversed(event_pump.session().jobs):
            if not local.active:
                _draw_ended(column, local)
        self.layout.operator("wan.find_results", icon="VIEWZOOM")


def _draw_ended(layout: bpy.types.UILayout, local: LocalJob) -> None:
    folder = str(local.folder)
    row = layout.row(align=True)
    if local.phase is Phase.FAILED:
        row.label(text=local.name, icon="ERROR")
        row.operator("wan.run_job", text="", icon="FILE_REFRESH").folder = folder
    else:
        row.label(text=local.name, icon="CHECKMARK" if local.placed else "QUESTION")
        place = row.operator("wan.place_result", text="", icon="TRACKING_FORWARDS_SINGLE")
        place.folder, place.here = folder, find_place(local.placement) is None
        row.operator("wan.show_report", text="", icon="INFO").folder = folder
        row.operator("wan.place_in_compositor", text="", icon="NODE_COMPOSITING").folder = folder
    row.operator("wan.open_job_folder", text="", icon="FILE_FOLDER").folder = folder
    row.operator("wan.dismiss_job", text="", icon="X").folder = folder
