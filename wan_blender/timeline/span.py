# SPDX-License-Identifier: GPL-3.0-or-later
"""Which frames a shot has: the strip's own, more than it has, a bridge to another, or one.

Frames that no strip shows are new: in the exported plate they hold the nearest picture, and the
matte "empty" is white there.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy

from ..core import schema
from ..core.errors import BadRequest, NothingSelected, UnsupportedClip
from . import compat, sources
from .mattes import siblings
from .takes import holder, shown_frames


@dataclass
class Span:
    """What the user asks for."""

    kind: str = schema.choice(
        "strip",
        "Which frames the shot has",
        {
            "strip": "The strip's own frames",
            "extend": "The strip and new frames before or after it",
            "bridge": "The end of a strip, new frames, the start of the next strip",
            "still": "One frame, shown for a while",
        },
    )
    before: int = schema.integer(0, "New frames before the strip", 0, 10000, "frames")
    after: int = schema.integer(24, "New frames after the strip", 0, 10000, "frames")
    other: str = schema.text(
        "", "The strip that a bridge leads to or from; empty is the next one on the channel"
    )
    context: int = schema.integer(
        25,
        "Frames of a strip that new frames continue, on one side of it; 0 takes all. New frames on "
        "both sides take all",
        0,
        10000,
        "frames",
    )
    cut: int = schema.integer(
        8,
        "Frames generated around a cut when there is no gap between the strips",
        2,
        10000,
        "frames",
    )
    frame: int = schema.integer(
        -1, "Timeline frame that a still is made of; -1 is the one at the playhead", -1, 1048574
    )
    hold: int = schema.integer(
        0, "Frames a still is shown for; 0 shows it to the strip's end", 0, 100000, "frames"
    )


@dataclass(frozen=True)
class ShotPart:
    """A stretch of the shot that a strip shows."""

    strip: str
    frame_start: int
    frame_count: int

    @property
    def frames(self) -> range:
        return range(self.frame_start, self.frame_start + self.frame_count)


@dataclass(frozen=True)
class Layout:
    """``frames`` of the timeline and what they show; ``new`` are those of the result that matter,
    ``hold`` is the length of a still, else 0."""

    frames: range
    parts: list[ShotPart]
    new: range
    hold: int = 0

    @property
    def result(self) -> range:
        """Frames that the result may cover."""
        start = self.frames.start
        return range(start, start + (self.hold or len(self.frames)))


def lay_out(scene: bpy.types.Scene, plate: bpy.types.Strip, span: Span) -> Layout:
    """Raises BadRequest, NothingSelected or UnsupportedClip where the span cannot be had."""
    own = shown_frames(plate)
    if span.kind == "extend":
        return _extend(plate, own, span)
    if span.kind == "bridge":
        left = holder(plate)  # with its takes, which are what the bridge leads from
        return _bridge(left, find_neighbour(scene, plate, span.other), span)
    if span.kind == "still":
        return _still(plate, own, scene.frame_current, span)
    return Layout(own, [ShotPart(plate.name, own.start, len(own))], own)


def _extend(plate: bpy.types.Strip, own: range, span: Span) -> Layout:
    if not span.before and not span.after:
        raise BadRequest(
            f"Strip {plate.name!r} is to be extended by 0 frames.",
            "Set how many frames come before or after it.",
        )
    before = range(own.start - span.before, own.start)
    after = range(own.stop, own.stop + span.after)
    if not before:
        shown, new = _last(own, span.context), after
    elif not after:
        shown, new = _first(own, span.context), before
    else:
        shown, new = own, range(before.start, after.stop)
    frames = range(min(new.start, shown.start), max(new.stop, shown.stop))
    return Layout(frames, [ShotPart(plate.name, shown.start, len(shown))], new)


def _first(frames: range, count: int) -> range:
    """The first ``count`` frames; 0 takes all."""
    return frames[:count] if count else frames


def _last(frames: range, count: int) -> range:
    return frames[-count:] if count else frames


def _still(plate: bpy.types.Strip, own: range, playhead: int, span: Span) -> Layout:
    first, where, remedy = span.frame, "span.frame is", "Name a frame of the strip."
    if first < 0:
        first, where, remedy = (
            playhead,
            "The playhead is at frame",
            "Move the playhead onto the strip, or set span.frame.",
        )
    if first not in own:
        raise BadRequest(
            f"{where} {first}; strip {plate.name!r} spans {own.start} to {own.stop - 1}.", remedy
        )
    frame = range(first, first + 1)
    hold = span.hold or own.stop - first
    return Layout(frame, [ShotPart(plate.name, first, 1)], frame, hold)


def find_neighbour(
    scene: bpy.types.Scene, plate: bpy.types.Strip, name: str = ""
) -> bpy.types.Strip:
    """The strip a bridge leads to: ``name``, or the next picture strip on the plate's channel."""
    plate = holder(plate)
    others = [s for s in siblings(scene, plate) if s != plate and sources.is_picture(s)]
    if name:
        named = next((s for s in others if s.name == name), None)
        if named is None:
            raise NothingSelected(
                f"There is no strip {name!r} beside {plate.name!r} to bridge to.",
                "Select the two clips and choose Bridge again.",
            )
        return named
    later = [
        s for s in others if s.channel == plate.channel and compat.start(s) >= compat.end(plate)
    ]
    if not later:
        raise NothingSelected(
            f"No clip follows strip {plate.name!r} on channel {plate.channel}.",
            "Select the two clips to bridge.",
        )
    return min(later, key=compat.start)


def _bridge(plate: bpy.types.Strip, other: bpy.types.Strip, span: Span) -> Layout:
    left, right = sorted((plate, other), key=compat.start)
    new = range(compat.end(left), compat.start(right))
    if not new:  # a cut, or strips that overlap
        half = span.cut // 2
        new = range(compat.start(right) - half, compat.end(left) + span.cut - half)
    before = _last(range(compat.start(left), new.start), span.context)
    after = _first(range(new.stop, compat.end(right)), span.context)
    for strip, shown in ((left, before), (right, after)):
        if not shown:
            raise UnsupportedClip(
                f"The bridge from frame {new.start} to {new.stop - 1} leaves nothing of strip "
                f"{strip.name!r} ({compat.start(strip)} to {compat.end(strip) - 1}) to continue.",
                "Make the bridge shorter, or move the strips apart.",
            )
    parts = [
        ShotPart(left.name, before.start, len(before)),
        ShotPart(right.name, after.start, len(after)),
    ]
    return Layout(range(before.start, after.stop), parts, new)
