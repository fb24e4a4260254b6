# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..host import preferences
from ..install import installation
from .on_installation import InstallationOperator, follow


class WAN_OT_install_engine(InstallationOperator, bpy.types.Operator):
    """Make the engine's own Python environment: several gigabytes are fetched, beside an older one
    that stays until the new one works"""

    bl_idname = "wan.install_engine"
    bl_label = "Install Engine"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        if not bpy.app.online_access and not preferences.get().wheels:
            cls.poll_message_set(
                "Allow online access in Preferences > System, or choose an offline folder"
            )
            return False
        return True

    def run(self, context: bpy.types.Context) -> None:
        chosen = preferences.get()
        task = installation.start(
            preferences.home(), chosen.backend, preferences.folder(chosen.wheels)
        )
        follow(task)
