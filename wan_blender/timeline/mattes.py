# SPDX-License-Identifier: GPL-3.0-or-later
"""Mattes: everything in the file that can say where to generate, under stable text ids.

    strip:NAME          any strip of the scene: a Mask strip, a picture, a scene strip with nodes
    modifier:NAME       the mask that a modifier of the plate refers to, at the modifier's mask time
    mask:NAME           a Mask datablock, at the scene's frame
    compositor:NAME     5.x: the plate as its compositor modifier NAME leaves it
    whole               everything
    empty               what the plate leaves empty: pixels without alpha, frames without picture

White (or opaque) is where to generate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import bpy

from ..core.errors import BadRequest, EmptyMask
from . import compat, sources

CHANNELS = ("luma", "alpha")
OPERATIONS = ("add", "subtract", "intersect")
WHOLE, EMPTY = "whole", "empty"
HOW_TO_MAKE_ONE = (
    "Draw one with New Matte, add a Mask strip above the clip, "
    "or choose another strip or mask as the matte."
)


@dataclass(frozen=True)
class Matte:
    """One thing that can be a matte. ``kind``: mask_strip, modifier, strip, mask, compositor,
    canvas (nobody drew it)."""

    id: str
    kind: str
    label: str


@dataclass(frozen=True)
class MatteChoice:
    """A matte the user chose. Values v join the result r so far, both 0..1:
    add max(r, v), subtract min(r, 1 - v), intersect min(r, v)."""

    id: str
    channel: str = "luma"
    operation: str = "add"


def list_mattes(scene: bpy.types.Scene, strip: bpy.types.Strip) -> list[Matte]:
    """All mattes for the plate ``strip``: Mask strips over it, masks of its modifiers, other
    strips, Mask datablocks, compositor outputs, and the two that nobody draws."""
    over = mask_strips_over(scene, strip)
    return [
        *(Matte(f"strip:{s.name}", "mask_strip", s.name) for s in over),
        *_modifier_mattes(strip),
        *_strip_mattes(scene, strip, over),
        *(Matte(f"mask:{m.name_full}", "mask", m.name_full) for m in bpy.data.masks),
        *_compositor_mattes(scene, strip),
        Matte(WHOLE, "canvas", "Whole Frame"),
        Matte(EMPTY, "canvas", "Empty Canvas"),
    ]


def mask_strips_over(scene: bpy.types.Scene, strip: bpy.types.Strip) -> list[bpy.types.Strip]:
    """Mask strips that share a frame with the plate, on channels above it or above a meta strip
    that it is in, lowest first.

    Muted ones count: a Mask strip that is shown hides the clip, so they are often muted.
    """
    over, level = [], strip
    while level is not None:
        above = [
            s
            for s in siblings(scene, level)
            if s.type == "MASK" and s.mask and s.channel > level.channel and _overlap(s, strip)
        ]
        over += sorted(above, key=lambda s: (s.channel, compat.start(s)))
        level = level.parent_meta()
    return over


def siblings(scene: bpy.types.Scene, strip: bpy.types.Strip) -> list[bpy.types.Strip]:
    """The strips of the timeline or meta strip that ``strip`` is in."""
    meta = strip.parent_meta()
    return list(meta.strips if meta else scene.sequence_editor.strips)


def _overlap(a: bpy.types.Strip, b: bpy.types.Strip) -> bool:
    return compat.start(a) < compat.end(b) and compat.start(b) < compat.end(a)


def _modifier_mattes(strip: bpy.types.Strip) -> Iterator[Matte]:
    for modifier in strip.modifiers:
        source = modifier_source(modifier)
        if source is not None:
            label = f"{modifier.name}: {source.name}"
            yield Matte(f"modifier:{modifier.name}", "modifier", label)


def modifier_source(
    modifier: bpy.types.StripModifier,
) -> bpy.types.Strip | bpy.types.Mask | None:
    """The strip or Mask datablock a modifier takes as its mask."""
    if modifier.input_mask_type == "STRIP":
        return modifier.input_mask_strip
    return modifier.input_mask_id


def _strip_mattes(
    scene: bpy.types.Scene, strip: bpy.types.Strip, over: list[bpy.types.Strip]
) -> Iterator[Matte]:
    for other in scene.sequence_editor.strips_all:
        usable = other.type == "MASK" or sources.is_picture(other)
        if other != strip and other not in over and usable and not _is_compositor(other):
            yield Matte(f"strip:{other.name}", "strip", other.name)


def _compositor_mattes(scene: bpy.types.Scene, strip: bpy.types.Strip) -> Iterator[Matte]:
    for other in scene.sequence_editor.strips_all:
        if other != strip and _is_compositor(other):
            yield Matte(f"strip:{other.name}", "compositor", other.name)
    for modifier in strip.modifiers:
        if modifier.type == "COMPOSITOR":
            yield Matte(f"compositor:{modifier.name}", "compositor", modifier.name)


def _is_compositor(strip: bpy.types.Strip) -> bool:
    return strip.type == "SCENE" and strip.scene and compat.node_tree(strip.scene) is not None


def resolve(
    scene: bpy.types.Scene, strip: bpy.types.Strip, choices: list[MatteChoice] | None
) -> list[MatteChoice]:
    """The choices, checked; or the default: all Mask strips over the plate, else its modifiers'
    masks. Raises EmptyMask when there is nothing to choose, BadRequest for what is not there."""
    known = list_mattes(scene, strip)
    if not choices:
        for kind in ("mask_strip", "modifier"):
            found = [MatteChoice(m.id) for m in known if m.kind == kind]
            if found:
                return found
        raise EmptyMask(f"No mask lies over strip {strip.name!r}.", HOW_TO_MAKE_ONE)
    for choice in choices:
        if choice.id not in {m.id for m in known}:
            raise BadRequest(
                f"There is no matte {choice.id!r} for strip {strip.name!r}.",
                f"There are: {', '.join(m.id for m in known) or 'none'}.",
            )
        if choice.channel not in CHANNELS or choice.operation not in OPERATIONS:
            raise BadRequest(
                f"Matte {choice.id!r} has channel {choice.channel!r}, operation "
                f"{choice.operation!r}.",
                f"Channels: {', '.join(CHANNELS)}; operations: {', '.join(OPERATIONS)}.",
            )
    return list(choices)


def read_choice(scene: bpy.types.Scene, strip: bpy.types.Strip, text: str) -> MatteChoice:
    """What NAME[:channel][:operation] chooses for the plate ``strip``, NAME being an id or a label.
    A name may hold colons itself: the longest one that there is counts. Raises BadRequest."""
    known = {name for matte in list_mattes(scene, strip) for name in (matte.id, matte.label)}
    name, rest = text, {}
    for key, allowed in (("operation", OPERATIONS), ("channel", CHANNELS)):
        shorter, colon, last = name.rpartition(":")
        if name not in known and colon and last in allowed:
            name, rest[key] = shorter, last
    return MatteChoice(find_matte(scene, strip, name).id, **rest)


def find_matte(scene: bpy.types.Scene, strip: bpy.types.Strip, name: str) -> Matte:
    """The matte with the id or label ``name``. Raises BadRequest that lists what there is."""
    known = list_mattes(scene, strip)
    for matte in (*(m for m in known if m.id == name), *(m for m in known if m.label == name)):
        return matte
    raise BadRequest(
        f"There is no matte {name!r} for strip {strip.name!r}.",
        f"There are: {', '.join(m.id for m in known) or 'none'}.",
    )
