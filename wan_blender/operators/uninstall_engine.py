# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from .. import engine_env, event_pump, preferences
from .operator import WanOperator


class WAN_OT_uninstall_engine(WanOperator, bpy.types.Operator):
    """Remove every installed engine and what its installer has fetched. Models and jobs stay"""

    bl_idname = "wan.uninstall_engine"
    bl_label = "Uninstall"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def run(self, context: bpy.types.Context) -> None:
        event_pump.session().stop_engine()
        engine_env.uninstall(preferences.home())
