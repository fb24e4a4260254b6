# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the shot: which strip is the plate, and where and how large it is. Names, no pointers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import bpy

from ..core.errors import BadRequest, NothingSelected, SizeMismatch, UnsupportedClip
from . import compat, sources
from .mattes import EMPTY, MatteChoice, find_matte, resolve
from .span import Layout, ShotPart, Span, lay_out
from .surroundings import (
    check_above,
    check_bridge,
    check_extension,
    check_free,
    reasons_to_stand_in,
    why_it_cannot,
)
from .takes import clip_in, holder, shown_frames

SMALLEST_CANVAS = 16


@dataclass
class ShotRequest:
    """What to export, as names and numbers that survive undo, saving and another process.

    ``parts`` say what the frames show, in order of time. Of the result, ``trim_start`` and
    ``trim_end`` frames are hidden behind the strip's ends; a still is shown for ``hold`` frames.
    ``model_matte`` is the id of the matte that the model sees instead of ``mattes``, or "";
    ``blur_matte`` of the one inside of which it sees the plate softened, or "".
    ``place`` is where the result goes, as the setting ``output.place`` says; "auto" is left only
    where the result may lie above. ``with_modifiers`` and ``notes``: see Shot in
    settings.py.
    ``strip_start`` and ``strip_count`` are the plate's, to follow it when it is moved.
    """

    scene: str
    strip: str
    strip_start: int
    strip_count: int
    frame_start: int
    frame_count: int
    width: int
    height: int
    fps_num: int
    fps_den: int
    channel: int
    parts: list[ShotPart]
    span: Span = field(default_factory=Span)
    mattes: list[MatteChoice] = field(default_factory=list)
    model_matte: str = ""
    blur_matte: str = ""
    trim_start: int = 0
    trim_end: int = 0
    hold: int = 0
    place: str = "auto"
    with_modifiers: bool = True
    notes: list[str] = field(default_factory=list)

    @property
    def frames(self) -> range:
        return range(self.frame_start, self.frame_start + self.frame_count)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ShotRequest:
        choices = [MatteChoice(**choice) for choice in data["mattes"]]
        parts = [ShotPart(**part) for part in data["parts"]]
        return cls(**{**data, "mattes": choices, "parts": parts, "span": Span(**data["span"])})


def find_scene(name: str | None) -> bpy.types.Scene:
    """The scene called ``name``, None for the active one. Raises BadRequest."""
    if name is None:
        return bpy.context.scene
    if name not in bpy.data.scenes:
        raise BadRequest(
            f"The file has no scene {name!r}.",
            f"Its scenes: {', '.join(scene.name for scene in bpy.data.scenes)}.",
        )
    return bpy.data.scenes[name]


def read_shot(
    scene: bpy.types.Scene,
    strip: bpy.types.Strip | str | None = None,
    mattes: list[MatteChoice] | None = None,
    span: Span | None = None,
    model_matte: str = "",
    blur_matte: str = "",
    place: str = "auto",
) -> ShotRequest:
    """The shot of ``strip``, by default the selected picture strip. None stands for the strip's own
    ``span`` and the default of ``mattes.resolve``. ``model_matte``, "" for the same as ``mattes``,
    and ``blur_matte`` are ids or names; ``place`` is the setting ``output.place``.

    Raises NothingSelected, UnsupportedClip (no picture, missing media with its path, zero length),
    SizeMismatch (canvas under 16 px), EmptyMask (no matte), BadRequest (a span out of reach).
    """
    plate, span = find_plate(scene, strip), span or Span()
    sources.check_kind(plate)
    width, height = canvas_size(scene)
    layout = _lay_out(scene, plate, span)
    choices = resolve(scene, plate, mattes)
    trim = _trim(scene, plate, layout, span, choices)
    model_matte = model_matte and find_matte(scene, plate, model_matte).id
    blur_matte = blur_matte and find_matte(scene, plate, blur_matte).id
    masked = [choice.id for choice in choices]
    place = _place(scene, plate, layout, span, place, masked)
    return ShotRequest(
        scene=scene.name,
        strip=plate.name,
        strip_start=compat.start(holder(plate)),
        strip_count=compat.length(holder(plate)),
        frame_start=layout.frames.start,
        frame_count=len(layout.frames),
        width=width,
        height=height,
        fps_num=frame_rate(scene).numerator,
        fps_den=frame_rate(scene).denominator,
        channel=plate.channel,
        parts=layout.parts,
        span=span,
        mattes=choices,
        model_matte=model_matte,
        blur_matte=blur_matte,
        trim_start=trim[0],
        trim_end=trim[1],
        hold=layout.hold,
        place=place,
        with_modifiers=place != "in_place" or _read_modifiers(*masked, model_matte, blur_matte),
        notes=_notes(scene, plate, layout, place, masked),
    )


def _read_modifiers(*mattes: str) -> bool:
    return any(matte.startswith(("modifier:", "compositor:")) for matte in mattes)


def _lay_out(scene: bpy.types.Scene, plate: bpy.types.Strip, span: Span) -> Layout:
    """What the shot shows. Raises as ``read_shot`` where it has no size, no frames or no media."""
    width, height = canvas_size(scene)
    if min(width, height) < SMALLEST_CANVAS:
        raise SizeMismatch(
            f"The canvas is {width} x {height} px; the smallest side may be {SMALLEST_CANVAS} px.",
            "Raise the resolution in Output Properties.",
        )
    if not shown_frames(plate):
        raise UnsupportedClip(f"Strip {plate.name!r} has no frames.", "Make it longer.")
    layout = lay_out(scene, plate, span)
    for part in layout.parts:
        sources.check(scene.sequence_editor.strips_all[part.strip], part.frames)
    if layout.frames.start < 0:
        raise UnsupportedClip(
            f"The shot of strip {plate.name!r} starts at frame {layout.frames.start}; Blender "
            "renders from frame 0 on.",
            "Move or trim the strip.",
        )
    return layout


def foretell(
    scene: bpy.types.Scene,
    plate: bpy.types.Strip,
    mattes: list[MatteChoice] | None,
    span: Span,
    place: str,
) -> list[str]:
    """The notes of ``read_shot``, without a look at any file: for a panel. Raises as it does."""
    layout = lay_out(scene, plate, span)
    masked = [choice.id for choice in resolve(scene, plate, mattes)]
    return _notes(scene, plate, layout, _place(scene, plate, layout, span, place, masked), masked)


def _notes(
    scene: bpy.types.Scene, plate: bpy.types.Strip, layout: Layout, place: str, mattes: list[str]
) -> list[str]:
    """What the result will be like that the user may not expect."""
    outer = holder(plate)
    level = outer.parent_meta() or scene.sequence_editor
    if outer.mute or level.channels[outer.channel].mute:
        return [f"Strip {plate.name!r} is muted, and so will be its result."]
    if place != "above" or len(layout.parts) > 1:
        return []
    reasons = reasons_to_stand_in(scene, plate, layout.result, mattes)
    if not reasons:
        return []
    return [f"The result lies above {plate.name!r} and will look different: {', '.join(reasons)}."]


def _place(
    scene: bpy.types.Scene,
    plate: bpy.types.Strip,
    layout: Layout,
    span: Span,
    chosen: str,
    mattes: list[str],
) -> str:
    """Where the result is to go, see ShotRequest. Raises BadRequest where it cannot go there, or
    would look unlike the clip."""
    if span.kind == "bridge":
        strips = [scene.sequence_editor.strips_all[part.strip] for part in layout.parts]
        check_bridge(scene, *strips, layout.new)
        return "above"
    if span.kind == "extend":
        own = shown_frames(plate)
        before, after = range(layout.frames.start, own.start), range(own.stop, layout.frames.stop)
        check_extension(scene, plate, before, after)
    reasons = reasons_to_stand_in(scene, plate, layout.result, mattes)
    if holder(plate) != plate or chosen == "above" or (chosen == "auto" and not reasons):
        check_above(scene, plate, layout.new if span.kind == "extend" else layout.result)
        return chosen
    obstacle = why_it_cannot(scene, plate)
    if obstacle:
        why = f": {', '.join(reasons)}" if reasons else ""
        raise BadRequest(
            f"The result cannot take the place of {plate.name!r}: {obstacle}. Above it, it would "
            f"look unlike it{why}.",
            "Select an input of the effect, or let the result go above it (output.place).",
        )
    if span.kind == "extend":
        check_free(scene, plate, before, after)
    return "in_place"


def _trim(
    scene: bpy.types.Scene,
    plate: bpy.types.Strip,
    layout: Layout,
    span: Span,
    choices: list[MatteChoice],
) -> tuple[int, int]:
    """Frames at both ends of the result that show nothing new: those of the strips themselves,
    unless a matte may touch these too."""
    only_new = all(choice.id == EMPTY for choice in choices)
    if span.kind == "extend" and not (only_new and _is_opaque(scene, layout)):
        return 0, 0
    frames = layout.frames
    return layout.new.start - frames.start, frames.stop - layout.new.stop


def _is_opaque(scene: bpy.types.Scene, layout: Layout) -> bool:
    strips = scene.sequence_editor.strips_all
    size = canvas_size(scene)
    return all(
        sources.is_opaque(scene, strips[part.strip], size, part.frames) for part in layout.parts
    )


def find_plate(
    scene: bpy.types.Scene, strip: bpy.types.Strip | str | None = None
) -> bpy.types.Strip:
    """The strip itself, the strip of that name, or the selected picture strip.

    The active strip wins; with only mattes active, the lowest selected picture strip. Of selected
    takes it is the clip in them.
    """
    editor = scene.sequence_editor
    if editor is None or not editor.strips_all:
        raise NothingSelected(
            f"Scene {scene.name!r} has no strips.", "Add a clip to the sequencer and select it."
        )
    if isinstance(strip, str):
        if strip not in editor.strips_all:
            raise NothingSelected(
                f"Scene {scene.name!r} has no strip {strip!r}.",
                f"Its strips: {', '.join(s.name for s in editor.strips_all)}.",
            )
        return editor.strips_all[strip]
    if strip is not None:
        return strip
    level = editor.meta_stack[-1] if editor.meta_stack else editor  # what the timeline shows
    selected = [s for s in level.strips if s.select]
    pictures = [s for s in selected if sources.is_picture(s)]
    if pictures:
        lowest = min(pictures, key=lambda s: s.channel)
        found = editor.active_strip if editor.active_strip in pictures else lowest
        return clip_in(found) or found
    if selected:
        raise UnsupportedClip(
            f"The selected strip {selected[0].name!r} is {sources.a_kind(selected[0])} and has no "
            "picture to work on.",
            "Select the clip that shows the picture.",
        )
    raise NothingSelected("No strip is selected.", "Select the clip to work on in the sequencer.")


def find_plates(scene: bpy.types.Scene) -> list[bpy.types.Strip]:
    """The clips of all selected picture strips, from left to right. Raises what ``find_plate``
    raises where there are none."""
    find_plate(scene)
    editor = scene.sequence_editor
    level = editor.meta_stack[-1] if editor.meta_stack else editor
    selected = [s for s in level.strips if s.select and sources.is_picture(s)]
    clips = {clip.name: clip for clip in (clip_in(s) or s for s in selected)}
    return sorted(clips.values(), key=lambda strip: (compat.start(strip), strip.channel))


def canvas_size(scene: bpy.types.Scene) -> tuple[int, int]:
    """(width, height) of a render in pixels."""
    render = scene.render
    return (
        render.resolution_x * render.resolution_percentage // 100,
        render.resolution_y * render.resolution_percentage // 100,
    )


def frame_rate(scene: bpy.types.Scene) -> Fraction:
    """Frames per second as a fraction: 24 / 1.001 is 24000/1001."""
    return scene.render.fps / Fraction(scene.render.fps_base).limit_denominator(5000)
