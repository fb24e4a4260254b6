# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..core.errors import BadRequest
from .operator import WanOperator


class WAN_OT_show_picture(WanOperator, bpy.types.Operator):
    """Show the report in an Image Editor of its own"""

    bl_idname = "wan.show_picture"
    bl_label = "Show"

    image: StringProperty(
        name="Image", description="Name of an image of this file", options={"SKIP_SAVE"}
    )
    filepath: StringProperty(
        name="File", description="Image file to load", subtype="FILE_PATH", options={"SKIP_SAVE"}
    )

    def run(self, context: bpy.types.Context) -> None:
        image = bpy.data.images.get(self.image) if self.image else self._load()
        if image is None:
            raise BadRequest(f"There is no image {self.image!r} in this file.")
        if bpy.app.background:
            return
        bpy.ops.wm.window_new()
        area = context.window_manager.windows[-1].screen.areas[0]
        area.type = "IMAGE_EDITOR"
        area.spaces.active.image = image
        area.spaces.active.ui_mode = "VIEW"

    def _load(self) -> bpy.types.Image:
        path = Path(bpy.path.abspath(self.filepath))
        if not path.is_file():
            raise BadRequest(f"{path} is not there any more.", "Run the job again.")
        image = bpy.data.images.load(str(path), check_existing=True)
        image.reload()
        return image
