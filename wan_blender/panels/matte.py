# SPDX-License-Identifier: GPL-3.0-or-later
"""New Matte: tools that draw where to generate."""

from __future__ import annotations

import bpy


def draw_new_matte(layout: bpy.types.UILayout) -> None:
    column = layout.column(align=True)
    column.label(text="New Matte")
    row = column.row(align=True)
    shape = bpy.ops.wan.draw_matte.get_rna_type().properties["shape"]
    for item in shape.enum_items:
        tool = row.operator("wan.draw_matte", text=item.name, icon=item.icon)
        tool.shape = item.identifier
