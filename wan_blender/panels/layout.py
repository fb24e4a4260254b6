# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panels share: where they stand, and text that fits the sidebar."""

from __future__ import annotations

import textwrap

import bpy

from ..timeline import compat

POINTS_PER_LETTER = 6.2  # of Blender's interface font, on average
MARGIN_POINTS = 60


class WanPanel:
    """Mixin: a panel in the sequencer's sidebar, tab "Wan"."""

    bl_space_type = "SEQUENCE_EDITOR"
    bl_region_type = "UI"
    bl_category = "Wan"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return compat.shows_a_timeline(context)


def draw_wrapped(
    layout: bpy.types.UILayout,
    context: bpy.types.Context,
    text: str,
    icon: str = "NONE",
) -> None:
    """Labels, one a line, as long as the sidebar is wide. The icon stands by the first."""
    points = context.region.width / context.preferences.system.ui_scale - MARGIN_POINTS
    letters = max(20, int(points / POINTS_PER_LETTER))
    column = layout.column(align=True)
    column.scale_y = 0.8
    for paragraph in text.splitlines():
        for line in textwrap.wrap(paragraph, letters) or [""]:
            column.label(text=line, icon=icon)
            icon = "BLANK1" if icon != "NONE" else "NONE"


def duration(seconds: float) -> str:
    """1:05 or 2:00:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
