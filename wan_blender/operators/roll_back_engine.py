# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from .. import engine_env, event_pump, preferences
from .operator import WanOperator


class WAN_OT_roll_back_engine(WanOperator, bpy.types.Operator):
    """Use the engine that was installed before this one"""

    bl_idname = "wan.roll_back_engine"
    bl_label = "Roll Back"

    def run(self, context: bpy.types.Context) -> None:
        event_pump.session().stop_engine()
        engine_env.rollback(preferences.home())
