# SPDX-License-Identifier: GPL-3.0-or-later
"""New Matte: tools that draw where to generate."""

from __future__ import annotations

import bpy


def draw_new_matte(layout: bpy.types.UILayout) -> None:
    column = layout.column(align=True)
    column.label(text="New Matte")
    row = column.row(align=True)
    for shape in ("BOX", "ELLIPSE", "LASSO"):
        operator = bpy.types.WAN_OT_draw_matte
        item = operator.bl_rna.properties["shape"].enum_items[shape]
        row.operator("wan.draw_matte", text=item.name, icon=item.icon).shape = shape
