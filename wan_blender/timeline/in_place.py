# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a meta strip where a clip stands, so that nothing on the timeline looks different.

Handed over to it: channel, handles, blend mode, opacity, mute, lock and colour tag, the modifiers
where asked, the animation of all these, and the place of the clip as input of effects and as mask
of modifiers. The clip inside shows its picture as it is, and all of its content; the handles of
the meta strip trim it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import bpy

from . import animation, compat
from .takes import TAKES

HANDED_OVER = ("blend_alpha", "blend_type", "mute", "lock", "color_tag")
INPUTS = ("input_1", "input_2")
# Of these the handles hide content; the others are as long as they are.
HAVE_CONTENT = {"MOVIE", "IMAGE", "MOVIECLIP", "SCENE", "META"}


def enclose(
    scene: bpy.types.Scene, clip: bpy.types.Strip, with_modifiers: bool, opened: bool = True
) -> bpy.types.MetaStrip:
    """A meta strip in the place of ``clip``, with it and the inputs it may have inside. It takes
    the modifiers too where asked; ``opened`` shows inside what the clip's handles hide."""
    editor = scene.sequence_editor
    outer = clip.parent_meta()
    level = outer or editor
    frames, channel = compat.frames(clip), clip.channel
    active, selected = editor.active_strip, clip.select
    highest = max(strip.channel for strip in level.strips)
    meta = level.strips.new_meta(f"{clip.name} takes", min(highest + 1, 128), frames.start)
    meta[TAKES] = 1
    # Effects take their length from their inputs: the meta strip has its own before they read it.
    measure = compat.new_effect(meta.strips, "measure", "COLOR", 128, frames.start, len(frames))
    compat.set_frames(meta, frames)
    connected = list(getattr(clip, "connections", ()))  # 4.5 does not tell
    if with_modifiers and len(clip.modifiers):
        with _ready(editor, outer, clip, [meta]):  # with curves and nodes, which only this copies
            bpy.ops.sequencer.strip_modifier_copy(type="REPLACE")
    _hand_over(scene, clip, meta, with_modifiers)
    for reader, name in readers(scene, clip):
        setattr(reader, name, meta)
    clip.move_to_meta(meta)
    meta.strips.remove(measure)
    if opened:
        _open(clip)
    compat.measure_content(meta)
    for number, part in enumerate(sorted(meta.strips, key=lambda part: part.channel), 1):
        part.channel = number  # an effect stays above its inputs
    compat.set_frames(meta, frames)
    meta.channel = channel
    if connected:
        with _ready(editor, outer, meta, [meta, *connected]):
            bpy.ops.sequencer.connect(toggle=False)
    meta.select, editor.active_strip = selected, meta if active == clip else active
    clip.select = False
    return meta


def readers(
    scene: bpy.types.Scene, clip: bpy.types.Strip
) -> Iterator[tuple[bpy.types.Strip | bpy.types.StripModifier, str]]:
    """(effect or modifier, property) that takes ``clip`` as its input or mask."""
    for strip in scene.sequence_editor.strips_all:
        for name in INPUTS:
            if getattr(strip, name, None) == clip:
                yield strip, name
        for modifier in strip.modifiers:
            if modifier.input_mask_strip == clip:
                yield modifier, "input_mask_strip"


def _hand_over(
    scene: bpy.types.Scene, clip: bpy.types.Strip, meta: bpy.types.Strip, with_modifiers: bool
) -> None:
    for name in HANDED_OVER:
        setattr(meta, name, getattr(clip, name))
    names = (*HANDED_OVER, "modifiers") if with_modifiers else HANDED_OVER
    animation.rename(scene, clip.name, meta.name, names)
    clip.blend_type, clip.blend_alpha, clip.mute = "REPLACE", 1.0, False
    if with_modifiers:
        clip.modifiers.clear()


@contextmanager
def _ready(
    editor: bpy.types.SequenceEditor,
    level: bpy.types.MetaStrip | None,
    active: bpy.types.Strip,
    selected: list[bpy.types.Strip],
) -> Iterator[None]:
    """Let operators work inside ``level``, None being the timeline, on these strips."""
    displayed = editor.meta_stack[-1] if editor.meta_stack else None
    before = editor.active_strip, [strip for strip in editor.strips_all if strip.select]
    editor.display_stack(level)
    _select(editor, active, selected)
    try:
        with bpy.context.temp_override(**compat.sequencer_context(editor.id_data)):
            yield
    finally:
        _select(editor, *before)
        editor.display_stack(displayed)


def _select(
    editor: bpy.types.SequenceEditor,
    active: bpy.types.Strip | None,
    selected: list[bpy.types.Strip],
) -> None:
    for strip in editor.strips_all:
        strip.select = strip in selected
    editor.active_strip = active


def _open(clip: bpy.types.Strip) -> None:
    """Show what the handles hide, which those of the meta strip do now."""
    if clip.type in HAVE_CONTENT and not (clip.type == "IMAGE" and len(clip.elements) == 1):
        compat.trim(clip, *(min(offset, 0) for offset in compat.offsets(clip)))
