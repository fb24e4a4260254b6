# SPDX-License-Identifier: GPL-3.0-or-later
"""A meta strip that stands where a clip stood, and holds the clip and the patches made for it.

The clip lies lowest in it; each patch above carries the recipe of its run. What the timeline did to
the clip is done to the meta strip, and so to clip and patch together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import bpy

from . import compat

TAKES = "wan_takes"  # custom property that marks such a meta strip
RECIPE = "wan_recipe"  # custom property of a patch: JSON text


def holder(strip: bpy.types.Strip) -> bpy.types.Strip:
    """The meta strip of takes that ``strip`` is the clip of, else ``strip`` itself."""
    meta = strip.parent_meta()
    return meta if meta is not None and clip_in(meta) == strip else strip


def clip_in(strip: bpy.types.Strip) -> bpy.types.Strip | None:
    """The clip in a meta strip of takes; None for any other strip."""
    if strip.type != "META" or TAKES not in strip:
        return None
    clips = [inner for inner in strip.strips if RECIPE not in inner and inner.type != "SOUND"]
    # The inputs of an effect that is the clip lie below it.
    return max(clips, key=lambda inner: inner.channel, default=None)


def shown_frames(strip: bpy.types.Strip) -> range:
    """The frames of ``strip`` on the timeline, without those its meta strip of takes hides."""
    own, outer = compat.frames(strip), compat.frames(holder(strip))
    return range(max(own.start, outer.start), min(own.stop, outer.stop))


def read_recipe(strip: bpy.types.Strip) -> dict[str, Any] | None:
    """The recipe of a result strip, or of the uppermost take that is shown; None for other strips,
    and where it was damaged by hand."""
    for part in _takes(strip) if TAKES in strip else (strip,):
        try:
            recipe = json.loads(part.get(RECIPE, ""))
        except (TypeError, ValueError, RecursionError):
            continue
        if isinstance(recipe, dict):
            return recipe
    return None


def _takes(meta: bpy.types.MetaStrip) -> Iterator[bpy.types.Strip]:
    """Patches that are shown, the uppermost first."""
    inner = sorted(meta.strips, key=lambda part: -part.channel)
    return (part for part in inner if RECIPE in part and not part.mute)


def is_result_for(strip: bpy.types.Strip, plate: bpy.types.Strip) -> bool:
    """Whether ``strip`` is a result that was made from ``plate``."""
    recipe = read_recipe(strip) or {}
    try:
        return recipe["job"]["shot"]["strip"] == plate.name
    except (KeyError, TypeError):
        return False
