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
from typing import Any

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
    if with_modifiers and len(clip.modifiers):
        _hand_over_modifiers(editor, clip, meta, outer)
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


def _hand_over_modifiers(
    editor: bpy.types.SequenceEditor,
    clip: bpy.types.Strip,
    meta: bpy.types.Strip,
    outer: bpy.types.MetaStrip | None,
) -> None:
    """Copy them, with their curves and nodes, which only the operator can."""
    with _displayed(editor, outer), _chosen(editor, clip, meta):
        scene = editor.id_data
        with bpy.context.temp_override(**compat.sequencer_context(scene)):
            bpy.ops.sequencer.strip_modifier_copy(type="REPLACE")


@contextmanager
def _displayed(editor: bpy.types.SequenceEditor, meta: Any) -> Iterator[None]:
    """Let operators work inside ``meta``; None is the timeline."""
    before = editor.meta_stack[-1] if editor.meta_stack else None
    editor.display_stack(meta)
    try:
        yield
    finally:
        editor.display_stack(before)


@contextmanager
def _chosen(
    editor: bpy.types.SequenceEditor, source: bpy.types.Strip, target: bpy.types.Strip
) -> Iterator[None]:
    """Make ``source`` active and ``target`` alone selected."""
    selected = [strip for strip in editor.strips_all if strip.select]
    active, editor.active_strip = editor.active_strip, source
    for strip in selected:
        strip.select = False
    target.select = True
    try:
        yield
    finally:
        target.select = False
        for strip in selected:
            strip.select = True
        editor.active_strip = active


def _open(clip: bpy.types.Strip) -> None:
    """Show what the handles hide, which those of the meta strip do now."""
    if clip.type in HAVE_CONTENT and not (clip.type == "IMAGE" and len(clip.elements) == 1):
        compat.trim(clip, *(min(offset, 0) for offset in compat.offsets(clip)))
