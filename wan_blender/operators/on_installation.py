# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators share that install the engine, remove it, or make the folder to install from."""

from __future__ import annotations

import bpy

from ..host.interface import redraw, start_timer
from ..install import installation
from .operator import WanOperator

REDRAW_S = 0.25


class InstallationOperator(WanOperator):
    """Mixin: one such task at a time."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("An installation is running")
        task = installation.current()
        return not (task and task.running)


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
