# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from .. import matrix_view
from ..core.errors import UnsupportedClip
from ..host import preferences
from .on_view import ViewOperator


class WAN_OT_report_frequencies(ViewOperator, bpy.types.Operator):
    """Compare the fine detail of this frame with that of another picture, band by band: what a change of the image generator, or the blur, moved"""  # noqa: E501

    bl_idname = "wan.report_frequencies"
    bl_label = "Compare With Image"

    filepath: StringProperty(
        name="Image", description="Picture to compare with", subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )  # fmt: skip
    filter_image: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    treated: BoolProperty(
        name="Treated",
        description="Compare with the treated frame instead of a file",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return super().poll(context) and not matrix_view.view().questions.busy

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if self.treated or self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        view = matrix_view.require_view()
        other = None if self.treated else Path(bpy.path.abspath(self.filepath))
        if other and not other.is_file():
            raise UnsupportedClip(f"There is no picture at {other}.", "Choose an image file.")
        view.compare(preferences.engine_python(), other)
        matrix_view.follow_map()
