# SPDX-License-Identifier: GPL-3.0-or-later
"""The one timer of this add-on, which ticks every task that runs, and the handlers that hold back
those that edit the file.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import bpy
from bpy.app.handlers import persistent

from ..core.errors import EngineError
from ..process.task import Task
from .interface import redraw_sidebar

HELD_S = 0.1  # until a task that was held back is tried once more


@dataclass
class _Followed:
    draw: Callable[[], None]
    due: float = 0.0  # as time.monotonic


_followed: dict[Task, _Followed] = {}
_holds: set[str] = set()  # what owns the file just now: "render", "save"
_ticking = False


def follow(task: Task, draw: Callable[[], None] = redraw_sidebar) -> None:
    """Tick ``task`` for as long as it runs, from now on, and ``draw`` when there is something new
    to show. In background mode timers do not run; who asks has to wait instead."""
    _followed[task] = _Followed(draw)
    if bpy.app.background or _ticking:
        return
    _stop()
    bpy.app.timers.register(tick, persistent=True)  # also after another file was opened


def tick() -> float | None:
    """Tick what is due; seconds until the next is, None when nothing is followed."""
    global _ticking
    _ticking = True
    try:
        for task, followed in list(_followed.items()):
            if followed.due <= time.monotonic() and _followed.get(task) is followed:
                _tick_one(task, followed)
    finally:
        _ticking = False
    if not _followed:
        return None
    return max(min(followed.due for followed in _followed.values()) - time.monotonic(), 0.0)


def _tick_one(task: Task, followed: _Followed) -> None:
    if task.edits_file and _holds:
        followed.due = time.monotonic() + HELD_S
        return
    ran = task.running  # one that ends just now is ticked once more, to draw what it ended with
    try:
        if task.tick():
            followed.draw()
    except Exception as error:  # noqa: BLE001  it would end the timer and strand all tasks
        traceback.print_exc()
        del _followed[task]
        task.give_up(
            EngineError(
                f"The add-on failed: {type(error).__name__}: {error}.",
                "The console has the details. Run the job again.",
            )
        )
    now = _followed.get(task)
    if now is None:
        return
    if ran or task.running:
        now.due = time.monotonic() + task.tick_s
    else:
        del _followed[task]


def register() -> None:
    for handlers, function in _handlers():
        handlers.append(function)


def unregister() -> None:
    for handlers, function in _handlers():
        handlers.remove(function)
    _stop()
    _followed.clear()
    _holds.clear()


def _stop() -> None:
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)


@persistent
def _hold_render(*_: object) -> None:
    _holds.add("render")


@persistent
def _release_render(*_: object) -> None:
    _holds.discard("render")


@persistent
def _hold_save(*_: object) -> None:
    _holds.add("save")


@persistent
def _release_save(*_: object) -> None:
    _holds.discard("save")


def _handlers() -> list[tuple[list, Callable]]:
    handlers = bpy.app.handlers
    return [
        (handlers.render_init, _hold_render),
        (handlers.render_complete, _release_render),
        (handlers.render_cancel, _release_render),
        (handlers.save_pre, _hold_save),
        (handlers.save_post, _release_save),
        (handlers.save_post_fail, _release_save),
    ]
