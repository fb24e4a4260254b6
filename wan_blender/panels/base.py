# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panels share: where they stand, how settings are laid out, how times are written."""

from __future__ import annotations

import bpy

from ..timeline import compat


class WanPanel:
    """Mixin: a panel in the sequencer's sidebar, tab "Wan"."""

    bl_space_type = "SEQUENCE_EDITOR"
    bl_region_type = "UI"
    bl_category = "Wan"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return compat.shows_a_timeline(context)


def settings_column(layout: bpy.types.UILayout) -> bpy.types.UILayout:
    """A column with the names of settings on the left, and none of the dots that keyframe them."""
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    return column


def duration(seconds: float) -> str:
    """1:05 or 2:00:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
