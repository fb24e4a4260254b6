# SPDX-License-Identifier: GPL-3.0-or-later
"""What the timeline does to a clip after its picture: what reads it, lies over it, fades it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import bpy

from ..core.errors import BadRequest
from . import animation, compat, in_place
from .takes import holder, is_result_for

CHANNELS = 128
PLAIN = {"REPLACE", "ALPHA_OVER"}
HIDES_ALL = PLAIN | {"CROSS", "GAMMA_CROSS"}


def reasons_to_stand_in(
    scene: bpy.types.Scene, plate: bpy.types.Strip, frames: range, mattes: Collection[str]
) -> list[str]:
    """Why a result that lay above ``plate`` on ``frames`` would look unlike the plate; empty where
    it may lie there. In a meta strip of takes it always may. ``mattes`` are the ids of those that
    the shot is masked with."""
    if holder(plate) != plate:
        return []
    reasons = [f"its blend mode is {_words(plate, 'blend_type')}"] * (plate.blend_type not in PLAIN)
    if _has_opacity(scene, plate):
        reasons.append("it has an opacity")
    if plate.mute or _level(scene, plate).channels[plate.channel].mute:
        reasons.append("it is muted")
    if animation.curves_of(scene, plate.name, ("mute",)):
        reasons.append("its mute is animated")
    if any(not modifier.mute for modifier in plate.modifiers):
        reasons.append("it has modifiers")
    reasons += [f"{name!r} takes it as input" for name in _reader_names(scene, plate, frames)]
    reasons += [f"{strip.name!r} lies over it" for strip in _covers(scene, plate, frames, mattes)]
    return reasons


def why_it_cannot(scene: bpy.types.Scene, plate: bpy.types.Strip) -> str:
    """Why no meta strip can stand in for ``plate``; "" where one can. An effect brings its inputs,
    which must not be seen elsewhere."""
    for strip in inputs_of(plate):
        beyond = set(compat.frames(strip)) - set(compat.frames(plate))
        others = [reader for reader, _ in in_place.readers(scene, strip)]
        others = [reader.name for reader in others if reader not in (plate, *inputs_of(plate))]
        if beyond or others:
            where = f"in {others[0]!r}" if others else "outside of it"
            return f"it is an effect, and its input {strip.name!r} is also shown {where}"
    return ""


def inputs_of(strip: bpy.types.Strip) -> list[bpy.types.Strip]:
    """Its inputs, and theirs."""
    direct = [getattr(strip, name, None) for name in in_place.INPUTS]
    return [part for own in direct if own for part in (own, *inputs_of(own))]


def check_above(scene: bpy.types.Scene, plate: bpy.types.Strip, frames: range) -> None:
    """Raise BadRequest where no channel above ``plate`` is free."""
    free_channel(_level(scene, plate), plate.channel, frames)


def free_channel(level: Any, lowest: int, frames: range) -> int:
    """The first channel from ``lowest`` up with nothing on ``frames``, in a timeline or meta strip.
    Muted channels would hide the strip, and locked ones are to stay as they are."""
    taken = {s.channel for s in level.strips if _overlaps(s, frames)}
    for number in range(lowest, CHANNELS + 1):
        channel = level.channels[number]
        if number not in taken and not channel.mute and not channel.lock:
            return number
    raise BadRequest(
        f"All channels from {lowest} to {CHANNELS} are taken between frames {frames.start} "
        f"and {frames.stop - 1}.",
        "Free a channel above the clip, then place the result again.",
    )


def check_free(scene: bpy.types.Scene, strip: bpy.types.Strip, *frames: range) -> None:
    """Raise BadRequest where another strip on the channel of ``strip`` is shown on ``frames``."""
    for other in _level(scene, strip).strips:
        for new in filter(None, frames):
            if other != strip and other.channel == strip.channel and _overlaps(other, new):
                raise BadRequest(
                    f"Strip {strip.name!r} cannot become longer: {other.name!r} is on channel "
                    f"{strip.channel} between frames {new.start} and {new.stop - 1}.",
                    f"Move {other.name!r} to another channel or another time.",
                )


def check_extension(
    scene: bpy.types.Scene, plate: bpy.types.Strip, before: range, after: range
) -> None:
    """Raise BadRequest where new frames cannot follow on: the end fades or dissolves."""
    shown = holder(plate)
    own = compat.frames(shown)
    for new, edge in ((before, own.start), (after, own.stop - 1)):
        if not new:
            continue
        for effect in _effects_of(shown):
            if effect.input_count > 1 and edge in compat.frames(effect):
                raise BadRequest(
                    f"Strip {plate.name!r} goes into {effect.name!r} at frame {edge}; new frames "
                    "there would cover what follows.",
                    f"Remove {effect.name!r} or move it, then extend the clip.",
                )
        _check_fade(scene, plate, edge)


def check_bridge(
    scene: bpy.types.Scene, left: bpy.types.Strip, right: bpy.types.Strip, new: range
) -> None:
    """Raise BadRequest where a strip over ``new`` frames would not look like its two neighbours."""
    strips = {left: new.start - 1, right: new.stop}
    odd = next((s for s in strips if s.blend_type not in PLAIN or s.blend_alpha < 1), None)
    if odd is not None:
        raise BadRequest(
            f"Strip {odd.name!r} has blend mode {_words(odd, 'blend_type')} and opacity "
            f"{odd.blend_alpha:g}, which a bridge has not.",
            "Put the clip into a meta strip and give that the look, then bridge inside.",
        )
    for strip, frame in strips.items():
        _check_fade(scene, strip, frame)
        for effect in _effects_of(strip):
            inside = {s for s in inputs_of(effect) if s in strips} == set(strips)
            if not inside and frame in compat.frames(effect):
                raise BadRequest(
                    f"{effect.name!r} takes {strip.name!r} as input at frame {frame}, and would "
                    "not reach the bridge.",
                    "Put the effect into an adjustment layer over both clips.",
                )
    _check_cover(scene, left, right, new)


def _check_cover(
    scene: bpy.types.Scene, left: bpy.types.Strip, right: bpy.types.Strip, new: range
) -> None:
    level = _level(scene, left)
    channel = free_channel(level, left.channel, new)
    own = {left, right, *(e for s in (left, right) for e in _effects_of(s))}
    lowest = min(left.channel, right.channel)
    for strip in level.strips:
        between = lowest < strip.channel < channel and _overlaps(strip, new)
        if between and strip not in own and _is_drawn(level, strip):
            raise BadRequest(
                f"The bridge would lie on channel {channel}, above {strip.name!r}, which covers "
                f"the clips on channel {strip.channel}.",
                f"Move {strip.name!r} up to channel {channel + 1}, then bridge.",
            )


def _check_fade(scene: bpy.types.Scene, strip: bpy.types.Strip, edge: int) -> None:
    """Raise BadRequest where the opacity at the frame ``edge`` is less than elsewhere."""
    shown = holder(strip)
    curves = animation.curves_of(scene, shown.name, ("blend_alpha",))
    curves = [curve for curve in curves if isinstance(curve, bpy.types.FCurve)]
    keyed = [curve for curve in curves if len(curve.keyframe_points)]
    for curve in keyed:
        there = curve.evaluate(edge)
        most = max(curve.evaluate(frame) for frame in compat.frames(shown))
        if there < most - 1e-4:
            raise BadRequest(
                f"Strip {strip.name!r} fades: its opacity is {there:.2f} on frame {edge} and up to "
                f"{most:.2f} elsewhere, so new frames would jump.",
                "Remove the fade, or move its keyframes to where the new frames will end.",
            )


def _effects_of(strip: bpy.types.Strip) -> list[bpy.types.Strip]:
    readers = in_place.readers(strip.id_data, strip)
    return [reader for reader, name in readers if name in in_place.INPUTS]


def _reader_names(scene: bpy.types.Scene, plate: bpy.types.Strip, frames: range) -> Iterator[str]:
    for reader, _ in in_place.readers(scene, plate):
        yield reader.name
    for strip in _level(scene, plate).strips:
        is_multicam = strip.type == "MULTICAM" and strip.multicam_source == plate.channel
        if is_multicam and _overlaps(strip, frames):
            yield strip.name


def _covers(
    scene: bpy.types.Scene, plate: bpy.types.Strip, frames: range, mattes: Collection[str]
) -> list[bpy.types.Strip]:
    """Strips drawn over the plate that a result on the first free channel would lie above."""
    level = _level(scene, plate)
    try:
        highest = free_channel(level, plate.channel, frames)
    except BadRequest:
        highest = CHANNELS + 1
    left_on = _matte_strips(level, mattes)
    return [
        strip
        for strip in level.strips
        if plate.channel < strip.channel < highest
        and _overlaps(strip, frames)
        and _is_drawn(level, strip)
        and not is_result_for(strip, plate)
        and not (strip.name in left_on and _hides_all(scene, strip))
    ]


def _is_drawn(level: Any, strip: bpy.types.Strip) -> bool:
    return strip.type != "SOUND" and not strip.mute and not level.channels[strip.channel].mute


def _matte_strips(level: Any, mattes: Collection[str]) -> set[str]:
    """Names of the Mask strips that are ``mattes`` of the shot, or that show the Mask of one."""
    shown = {strip.name: strip.mask for strip in level.strips if strip.type == "MASK"}
    masks = {mask for name, mask in shown.items() if mask and f"strip:{name}" in mattes}
    masks |= {mask for mask in shown.values() if mask and f"mask:{mask.name}" in mattes}
    return {name for name, mask in shown.items() if mask in masks or f"strip:{name}" in mattes}


def _hides_all(scene: bpy.types.Scene, strip: bpy.types.Strip) -> bool:
    """Whether it is a Mask strip that covers all below: as a matte of the shot one that was left
    on, else a picture that is meant."""
    opaque = strip.blend_type in HIDES_ALL and not _has_opacity(scene, strip)
    return strip.type == "MASK" and opaque


def _has_opacity(scene: bpy.types.Scene, strip: bpy.types.Strip) -> bool:
    animated = animation.curves_of(scene, strip.name, ("blend_alpha",))
    return strip.blend_alpha < 1 or bool(animated)


def _overlaps(strip: bpy.types.Strip, frames: range) -> bool:
    return compat.start(strip) < frames.stop and frames.start < compat.end(strip)


def _level(scene: bpy.types.Scene, strip: bpy.types.Strip) -> Any:
    return strip.parent_meta() or scene.sequence_editor


def _words(strip: bpy.types.Strip, name: str) -> str:
    """The value of an enum as the interface calls it."""
    return strip.bl_rna.properties[name].enum_items[getattr(strip, name)].name
