# SPDX-License-Identifier: GPL-3.0-or-later
"""The one session of this Blender, the timer that pumps it and the handlers that hold it back."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import bpy
from bpy.app.handlers import persistent

from ..core.errors import EngineError
from .interface import redraw_sidebar, start_timer, stop_timer
from .session import Session

TICK_S = 0.1
IDLE_TICK_S = 1.0

_session: Session | None = None
_holds: set[str] = set()  # what owns the sequencer just now: "render", "save"


def session() -> Session:
    return _session


def register(log: Path, find_python: Callable[[], Path]) -> None:
    global _session
    _session = Session(log, find_python, on_change=_wake)
    for handlers, function in _handlers():
        handlers.append(function)


def unregister() -> None:
    global _session
    for handlers, function in _handlers():
        handlers.remove(function)
    _session.close()
    stop_timer(_tick)
    _holds.clear()
    _session = None


def _wake() -> None:
    """Something changed: draw it, and tick while there is anything to hear (in background mode
    Session.wait does)."""
    start_timer(_tick)
    redraw_sidebar()


def _tick() -> float | None:
    if _holds:
        return TICK_S
    try:
        _session.pump()
    except Exception as error:  # noqa: BLE001  it would end the timer and strand the jobs
        traceback.print_exc()
        _session.give_up(
            EngineError(
                f"The add-on failed: {type(error).__name__}: {error}.",
                "The console has the details. Run the job again.",
            )
        )
    if _session.active:
        return TICK_S
    return IDLE_TICK_S if _session.engine and _session.engine.alive else None


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
