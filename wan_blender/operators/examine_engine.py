# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import platform
from collections.abc import Iterator

import bpy

from .. import __version__
from ..host import diagnosis, preferences, pump
from ..host.interface import redraw, start_timer
from ..install import environment, installation
from .operator import WanOperator

LOOK_S = 0.25


class WAN_OT_examine_engine(WanOperator, bpy.types.Operator):
    """Look for what is wrong with the engine and copy the report, fit to paste"""

    bl_idname = "wan.examine_engine"
    bl_label = "Copy Report"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("The engine is being examined")
        running = diagnosis.current()
        return not (running and running.running)

    def run(self, context: bpy.types.Context) -> None:
        task = diagnosis.start(list(_facts()), preferences.engine_python)
        if bpy.app.background:
            task.wait()
            copy_report()
        else:
            start_timer(copy_report)


def _facts() -> Iterator[str]:
    """What Blender's side knows, also where there is no engine."""
    version = bpy.app.version_string
    yield f"wan_blender {__version__} in Blender {version} on {platform.platform()}"
    if not preferences.get().python:
        status = environment.status(preferences.home())
        yield f"{'ok' if status.state == 'ready' else '!!'}  {status.says} {status.remedy}".strip()
        task = installation.current()
        if task and task.error:
            yield f"!!  Last installation: {task.error}"
    session = pump.session()
    yield f"ok  Log: {session.log}"
    if session.error:
        yield f"!!  Last error: {session.error}"


def copy_report() -> float | None:
    """To the clipboard, once it is there."""
    task = diagnosis.current()
    if task and task.running:
        return LOOK_S
    if task:
        bpy.context.window_manager.clipboard = task.report()
        redraw("PREFERENCES")
    return None
