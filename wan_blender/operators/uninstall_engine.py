# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..host import preferences, pump
from ..host.library import library
from ..install import installation
from .on_installation import InstallationOperator, follow


class WAN_OT_uninstall_engine(InstallationOperator, bpy.types.Operator):
    """Remove every installed engine and what its installer has fetched. A run ends, its job can be
    run again; models and jobs stay"""

    bl_idname = "wan.uninstall_engine"
    bl_label = "Uninstall Engine"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        cls.poll_message_set("Models are being looked for or downloaded")
        return not library().busy

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def run(self, context: bpy.types.Context) -> None:
        ended = pump.session().stop_engine()
        follow(installation.remove(preferences.home(), ended))
