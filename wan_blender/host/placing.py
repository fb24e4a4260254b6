# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the result of a job on the timeline, whether a click or the end of the run asks for it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import bpy

from ..core import job
from ..core.errors import BadRequest
from ..core.result import find_result, verify
from ..timeline.place import find_place, place
from .jobs import LocalJob


def require_result(folder: Path) -> Path:
    """The result in a job folder, whole. Raises BadRequest, DamagedResult."""
    result = find_result(folder)
    if result is None:
        raise BadRequest(f"{folder} holds no finished result.", "Run the job again.")
    verify(result)
    return result


def place_result(
    local: LocalJob, result: Path, at_playhead: bpy.types.Scene | None = None
) -> bpy.types.Strip:
    """Place the folder ``result`` of ``local`` over the shot it was made from, or in the scene
    ``at_playhead`` from its current frame on. Raises BadRequest."""
    placement = local.placement
    if at_playhead:
        first = at_playhead.frame_current - placement.trim_start
        placement = replace(placement, strip="", frame_start=first)
    scene = at_playhead or find_place(placement)
    if scene is None:
        raise BadRequest(
            f"The shot of {local.name!r} is not in this file any more.",
            "Choose Place at Playhead, or open the file it was made from.",
        )
    strip = place(scene, placement, result, local.name, local.recipe)
    with contextlib.suppress(OSError):  # at worst it is offered once more
        job.append_state(local.folder, "placed", scene=scene.name, strip=strip.name)
    local.placed = True
    return strip
