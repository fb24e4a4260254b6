# SPDX-License-Identifier: GPL-3.0-or-later
"""What has ended: results to place, jobs to run again. Those that wait are under Generate too."""

from __future__ import annotations

import bpy

from ..host.jobs import LocalJob, Phase
from ..host.session import Session
from ..host.state import host
from ..timeline.place import find_place
from .base import WanPanel
from .batch import draw_batch

SHOWN = 3  # jobs that wait, outside of Results


class WAN_PT_results(WanPanel, bpy.types.Panel):
    bl_label = "Results"
    bl_order = 3
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column(align=True)
        for local in reversed(host().session.jobs):
            if not local.active:
                _draw_ended(column, local)
        self.layout.operator("wan.find_results", icon="VIEWZOOM")
        if host().batch:
            draw_batch(self.layout, context, host().batch)
        else:
            self.layout.operator("wan.follow_batch", icon="PRESET")


def draw_waiting(layout: bpy.types.UILayout, session: Session) -> None:
    """The newest jobs that wait for the user, each with what there is to do."""
    waiting = [local for local in session.jobs if local.waits]
    for local in waiting[-SHOWN:]:
        failed, folder = local.phase is Phase.FAILED, str(local.folder)
        column = layout.box().column(align=True)
        column.label(text=local.name, icon="ERROR" if failed else "QUESTION")
        row = column.row()
        row.label(text="Not finished" if failed else "Not placed")
        button = row.row()
        button.ui_units_x = 3 if failed else 7
        if failed:
            button.operator("wan.run_job", text="Run").folder = folder
        else:
            _draw_place(button, local, "Place")
        row.operator("wan.dismiss_job", text="", icon="X", emboss=False).folder = folder
    if len(waiting) > SHOWN:
        layout.label(text=f"{len(waiting) - SHOWN} more wait under Results", icon="BLANK1")


def _draw_place(layout: bpy.types.UILayout, local: LocalJob, text: str) -> None:
    """``text`` places the result over its shot; where that is gone, the playhead is offered."""
    gone = find_place(local.placement) is None
    text = "Place at Playhead" if gone else text
    place = layout.operator("wan.place_result", text=text, icon="TRACKING_FORWARDS_SINGLE")
    place.folder, place.here = str(local.folder), gone


def _draw_ended(layout: bpy.types.UILayout, local: LocalJob) -> None:
    folder = str(local.folder)
    row = layout.row(align=True)
    if local.phase is Phase.FAILED:
        row.label(text=local.name, icon="ERROR")
        row.operator("wan.run_job", text="", icon="FILE_REFRESH").folder = folder
    else:
        row.label(text=local.name, icon="CHECKMARK" if local.placed else "QUESTION")
        _draw_place(row, local, "")
        row.operator("wan.show_report", text="", icon="INFO").folder = folder
        row.operator("wan.place_in_compositor", text="", icon="NODE_COMPOSITING").folder = folder
    row.operator("wan.open_job_folder", text="", icon="FILE_FOLDER").folder = folder
    row.operator("wan.dismiss_job", text="", icon="X").folder = folder
