# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from .. import matrix_view
from .on_view import ViewOperator


class WAN_OT_save_treated_frame(ViewOperator, bpy.types.Operator):
    """Save the frame as it is blurred now, at generation size, as a PNG file"""

    bl_idname = "wan.save_treated_frame"
    bl_label = "Save Treated Frame"

    filepath: StringProperty(
        name="File", description="Where to save it", subtype="FILE_PATH", options={"SKIP_SAVE"}
    )
    filter_image: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    check_existing: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        name = bpy.path.clean_name(matrix_view.require_view().name)
        self.filepath = f"{name}-treated.png"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        view = matrix_view.require_view()
        path = Path(bpy.path.ensure_ext(bpy.path.abspath(self.filepath), ".png"))
        matrix_view.write_picture(path, view.treated_now())
        self.report({"INFO"}, f"Saved {path}")
