# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ..core.errors import BadRequest
from ..host import preferences
from ..install import installation
from .on_installation import InstallationOperator, follow


class WAN_OT_bundle_engine(InstallationOperator, bpy.types.Operator):
    """Fetch what an installation without a network needs, Python and packages, into a new folder
    inside the one you choose, for machines with this one's system and processor. Choose the build
    of torch for their card first: Automatic takes the one for the card in this machine"""

    bl_idname = "wan.bundle_engine"
    bl_label = "Make Offline Folder"

    directory: StringProperty(
        name="Inside", description="Where the folder is made", subtype="DIR_PATH",
        options={"SKIP_SAVE"},
    )  # fmt: skip
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        cls.poll_message_set("Allow online access in Preferences > System > Network")
        return bpy.app.online_access

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        if not self.directory:
            raise BadRequest("No folder is named.", "Give one as directory.")
        inside = Path(bpy.path.abspath(self.directory)).absolute()
        follow(installation.make_bundle(inside, preferences.get().backend))
