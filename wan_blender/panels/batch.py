# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch that runs elsewhere, in Results."""

from __future__ import annotations

import bpy

from ..farm.board import Board
from ..farm.status import JobStatus
from ..host.batch_watch import BatchView, BatchWatch
from ..host.interface import draw_wrapped
from .base import duration

ENGINES_SHOWN = 8
ICONS = {
    "done": "CHECKMARK",
    "running": "PLAY",
    "waiting": "SORTTIME",
    "failed": "ERROR",
    "cancelled": "X",
}


def draw_batch(layout: bpy.types.UILayout, context: bpy.types.Context, watch: BatchWatch) -> None:
    box = layout.box()
    row = box.row(align=True)
    row.label(text=watch.folder.name, icon="FILE_FOLDER")
    row.operator("wan.open_batch_folder", text="", icon="FILE_FOLDER", emboss=False)
    row.operator("wan.leave_batch", text="", icon="X", emboss=False)
    if watch.error:
        draw_wrapped(box, context, str(watch.error), "ERROR")
    view = watch.view
    if view is None:
        box.label(text="Looking")
        return
    told = ", ".join(f"{number} {outcome}" for outcome, number in view.counts.items())
    box.progress(factor=view.done, text=told)
    _draw_engines(box, view)
    _draw_jobs(box, context, watch)


def _draw_engines(layout: bpy.types.UILayout, view: BatchView) -> None:
    board = view.board
    if board is None:
        if "waiting" in view.counts and "running" not in view.counts:
            layout.label(text="No engine is running it", icon="INFO")
        return
    column = layout.column(align=True)
    for line in board.engines[:ENGINES_SHOWN]:
        row = column.split(factor=0.35)
        row.label(text=line.name)
        if line.job:
            row.progress(factor=line.fraction, text=f"{line.state.capitalize()}: {line.job}")
        else:
            row.label(text=line.state.capitalize())
    column.label(text=_rest(board))


def _rest(board: Board) -> str:
    more = len(board.engines) - ENGINES_SHOWN
    left = f"About {duration(board.left_s)} left" if board.left_s >= 0 else "Time not known yet"
    return f"{more} more engines. {left}" if more > 0 else left


def _draw_jobs(layout: bpy.types.UILayout, context: bpy.types.Context, watch: BatchWatch) -> None:
    column = layout.column(align=True)
    for status in watch.listed:
        _draw_job(column, context, status)
    if watch.pages > 1:
        row = column.row(align=True)
        row.operator("wan.turn_batch_page", text="", icon="TRIA_LEFT").pages = -1
        row.label(text=f"Page {watch.page + 1} of {watch.pages}")
        row.operator("wan.turn_batch_page", text="", icon="TRIA_RIGHT").pages = 1


def _draw_job(layout: bpy.types.UILayout, context: bpy.types.Context, status: JobStatus) -> None:
    row = layout.row(align=True)
    row.label(text=status.folder.name, icon=ICONS[status.outcome])
    if status.outcome == "done":
        place = row.operator("wan.place_result", text="", icon="TRACKING_FORWARDS_SINGLE")
        place.folder = str(status.folder)
    if told := status.error.get("message"):
        draw_wrapped(layout, context, told, "BLANK1")
