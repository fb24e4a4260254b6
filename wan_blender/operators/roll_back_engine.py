# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..host import preferences, pump
from ..install import environment, installation
from .on_installation import InstallationOperator, follow


class WAN_OT_roll_back_engine(InstallationOperator, bpy.types.Operator):
    """Use the engine that was installed before this one. A run ends, its job can be run again"""

    bl_idname = "wan.roll_back_engine"
    bl_label = "Roll Back"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        cls.poll_message_set("There is no earlier engine")
        return bool(environment.earlier(preferences.home()))

    def run(self, context: bpy.types.Context) -> None:
        pump.session().stop_engine()
        follow(installation.roll_back(preferences.home()))
