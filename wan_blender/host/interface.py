# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's interface as the other parts need it: timers, redraws, a window, text that fits."""

from __future__ import annotations

import contextlib
import textwrap
from typing import Any

import bpy

POINTS_PER_LETTER = 6.2  # of Blender's interface font, on average
MARGIN_POINTS = 60


def redraw(editor: str, part: str = "") -> None:
    """Have the areas of a type drawn, or of their regions those of the type ``part``."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == editor:
                parts = [region for region in area.regions if region.type == part]
                for shown in parts if part else [area]:
                    shown.tag_redraw()


def redraw_sidebar() -> None:
    """Have the sequencer's sidebar drawn, where the Wan tab is; its preview costs more."""
    redraw("SEQUENCE_EDITOR", "UI")


def in_a_window() -> contextlib.AbstractContextManager[Any]:
    """A context for operators that are called from a timer, which has no window of its own."""
    window = next(iter(bpy.context.window_manager.windows), None)
    return bpy.context.temp_override(window=window) if window else contextlib.nullcontext()


def in_the_middle_of(*operators: str) -> bool:
    """Whether the user is in the middle of an operator whose name begins so, "TRANSFORM_OT"."""
    return any(
        operator.bl_idname.startswith(operators)
        for window in bpy.context.window_manager.windows
        for operator in window.modal_operators
    )


def push_undo(message: str) -> None:
    """Make what a timer changed a step that can be undone, as an operator's change is."""
    with in_a_window():
        bpy.ops.ed.undo_push(message=message)


def draw_wrapped(
    layout: bpy.types.UILayout,
    context: bpy.types.Context,
    text: str,
    icon: str = "NONE",
) -> None:
    """Labels, one a line, as long as the region is wide. The icon stands by the first."""
    points = context.region.width / context.preferences.system.ui_scale - MARGIN_POINTS
    letters = max(20, int(points / POINTS_PER_LETTER))
    column = layout.column(align=True)
    column.scale_y = 0.8
    for paragraph in text.splitlines():
        for line in textwrap.wrap(paragraph, letters) or [""]:
            column.label(text=line, icon=icon)
            icon = "BLANK1" if icon != "NONE" else "NONE"
