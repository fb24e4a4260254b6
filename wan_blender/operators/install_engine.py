# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from .. import installation, preferences
from ..interface import redraw, start_timer
from .operator import WanOperator

REDRAW_S = 0.25


class WAN_OT_install_engine(WanOperator, bpy.types.Operator):
    """Make the engine's own Python environment: several gigabytes are fetched, beside an older one
    that stays until the new one works"""

    bl_idname = "wan.install_engine"
    bl_label = "Install Engine"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        running = installation.current()
        if running and running.running:
            cls.poll_message_set("An installation is running")
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


def follow(task: installation.Installation) -> None:
    """Show how ``task`` goes on; scripts wait for its end, and get its error."""
    if not bpy.app.background:
        start_timer(show_progress)
        return
    task.wait()
    if task.error:
        raise task.error


def show_progress() -> float | None:
    """The installer's last line while it runs, and how it ended."""
    redraw("PREFERENCES")
    running = installation.current()
    return REDRAW_S if running and running.running else None
