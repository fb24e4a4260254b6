# SPDX-License-Identifier: GPL-3.0-or-later
"""What a strip's picture is made of: is it there, how deep is it, does it leave alpha."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy

from ..core.errors import UnsupportedClip
from . import compat, containers, exr

# Mask strips are mattes; the others show what lies under them, so alone they show nothing.
NOT_PICTURES = {"SOUND", "MASK", "ADJUSTMENT", "MULTICAM"}
DEEP_MODIFIERS = {"COMPOSITOR"}


def is_picture(strip: bpy.types.Strip) -> bool:
    return strip.type not in NOT_PICTURES


def a_kind(strip: bpy.types.Strip) -> str:
    """The kind as the interface calls it: "a mask strip", "an adjustment layer strip"."""
    kind = strip.bl_rna.properties["type"].enum_items[strip.type].name.lower()
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} strip"


def check(strip: bpy.types.Strip) -> None:
    """Raise UnsupportedClip unless the strip has a picture and all that makes it is there."""
    if not is_picture(strip):
        raise UnsupportedClip(
            f"Strip {strip.name!r} is {a_kind(strip)} and has no picture to work on.",
            "Select the clip that shows the picture.",
        )
    for part in _parts(strip):
        missing = _missing(part)
        if missing:
            raise UnsupportedClip(
                f"Strip {part.name!r} misses its media: {missing}.",
                "Find the file (File > External Data > Find Missing Files) or choose another.",
            )
        if part.type == "SCENE" and not _draws(part):
            raise UnsupportedClip(
                f"Strip {part.name!r} shows scene {part.scene.name!r}, which has no camera.",
                "Give it one, or set the strip's input to the scene's sequencer.",
            )
    if strip.type in ("META", "SCENE") and not _has_pictures(strip):
        raise UnsupportedClip(
            f"Strip {strip.name!r} is {a_kind(strip)} without a picture in it.",
            "Select the clip that shows the picture, or unmute what is in the strip.",
        )


def _draws(strip: bpy.types.Strip) -> bool:
    """Whether Blender draws anything for a scene strip: without a camera only what nodes make."""
    scene = strip.scene
    has_nodes = scene.render.use_compositing and compat.node_tree(scene) is not None
    bound = any(marker.camera for marker in scene.timeline_markers)  # on their frames
    return shows_sequencer(strip) or has_nodes or bool(strip.scene_camera or scene.camera or bound)


def _has_pictures(strip: bpy.types.Strip) -> bool:
    """Whether any part of the strip is a picture itself, and not just holds some."""
    return any(part.type != "META" and not shows_sequencer(part) for part in _parts(strip))


def check_readable(strip: bpy.types.Strip, frames: range) -> None:
    """Raise UnsupportedClip where ``frames`` show a file that Blender cannot read: it would draw
    magenta instead.

    Reading decodes an image whole, some 40 ms at 1080p. So each image shown is read once, of a
    movie one frame, and only by the export, for which the editor does not wait.
    """
    for part in _parts(strip):
        same_time = part.id_data == strip.id_data  # not inside a scene strip
        for path in _shown_files(part, frames if same_time else _frames(part)):
            if not _is_readable(path):
                raise UnsupportedClip(
                    f"Strip {part.name!r} shows a file that Blender cannot read: {path}.",
                    "Replace the file, trim it away or choose another.",
                )


def check_whole(strip: bpy.types.Strip, pictures: list[Path]) -> None:
    """Raise UnsupportedClip where a movie in the strip is cut short and ``pictures``, the exported
    frames, end with repetitions: Blender shows the last frame there is for those that lack."""
    for part in _parts(strip):
        for path in files(part) if part.type == "MOVIE" else ():
            size, stated = os.path.getsize(path), containers.stated_size(path)
            lacking = _repeated(pictures) if size < stated else 0
            if lacking:
                raise UnsupportedClip(
                    f"Strip {part.name!r} lacks {lacking} of {len(pictures)} frames: {path} is cut "
                    f"short, to {size} of {stated} bytes.",
                    f"Copy the file again, or trim {lacking} frames off the strip's end.",
                )


def _repeated(pictures: list[Path]) -> int:
    """How many files at the end are as the one before."""
    last = pictures[-1].read_bytes()
    before = enumerate(reversed(pictures[:-1]))
    return next((i for i, file in before if file.read_bytes() != last), len(pictures) - 1)


def _frames(strip: bpy.types.Strip) -> range:
    return range(compat.start(strip), compat.end(strip))


def _shown_files(strip: bpy.types.Strip, frames: range) -> list[str]:
    """The strip's own media that is shown on ``frames``, each once."""
    own = _frames(strip)
    shown = range(max(frames.start, own.start), min(frames.stop, own.stop))
    paths = list(files(strip)) if shown else []
    if len(paths) < 2 or strip.use_reverse_frames or strip.retiming_keys:
        return paths
    first, (cut, cut_end) = round(compat.content_start(strip)), compat.cut(strip)
    last = len(paths) - cut_end - 1
    indices = (min(max(frame - first, 0) + cut, last) for frame in shown)
    return [paths[index] for index in dict.fromkeys(indices)]


def _is_readable(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        if file.read(len(exr.MAGIC)) == exr.MAGIC:
            return True  # with several layers the sequencer shows it, but Python cannot open it
    with _opened(path) as image:
        return image.size[0] > 0


def _parts(
    strip: bpy.types.Strip, scenes: tuple[bpy.types.Scene, ...] = ()
) -> Iterator[bpy.types.Strip]:
    """The strip and every picture strip it is made of. ``scenes``: those we are in already."""
    yield strip
    inside = []
    if strip.type == "META":
        inside = [s for s in strip.strips if not s.mute]
    elif shows_sequencer(strip) and strip.scene not in scenes:
        scenes = (*scenes, strip.scene)
        editor = strip.scene.sequence_editor
        inside = [s for s in editor.strips if not s.mute] if editor else []
    inputs = (getattr(strip, slot, None) for slot in ("input_1", "input_2"))
    for part in (*inside, *inputs):
        if part is not None and is_picture(part):
            yield from _parts(part, scenes)


def shows_sequencer(strip: bpy.types.Strip) -> bool:
    """Whether it is a scene strip that shows the scene's own timeline."""
    return strip.type == "SCENE" and bool(strip.scene) and strip.scene_input == "SEQUENCER"


def _missing(strip: bpy.types.Strip) -> str:
    """What is not there, in words; empty when nothing is missing."""
    if strip.type == "SCENE" and not strip.scene:
        return "no scene is set"
    if strip.type == "MOVIECLIP" and not strip.clip:
        return "no movie clip is set"
    return next((path for path in files(strip) if not os.path.isfile(path)), "")


def files(strip: bpy.types.Strip) -> Iterator[str]:
    """Absolute paths of the strip's own media."""
    if strip.type == "MOVIE":
        yield _absolute(strip.filepath, strip)
    elif strip.type == "IMAGE":
        for element in strip.elements:
            yield _absolute(os.path.join(strip.directory, element.filename), strip)
    elif strip.type == "MOVIECLIP" and strip.clip:
        yield bpy.path.abspath(strip.clip.filepath, library=strip.clip.library)


def _absolute(path: str, strip: bpy.types.Strip) -> str:
    return bpy.path.abspath(path, library=strip.id_data.library)


def bit_depth(strip: bpy.types.Strip) -> int:
    """8, or 16 where any source or step of the strip's picture is deeper than 8 bits."""
    return 16 if any(_is_deep(part) for part in _parts(strip)) else 8


def _is_deep(strip: bpy.types.Strip) -> bool:
    if strip.use_float or any(m.type in DEEP_MODIFIERS for m in strip.modifiers if not m.mute):
        return True
    if strip.type == "SCENE":
        return not shows_sequencer(strip)
    path = next(files(strip), "")
    if not path:
        return False
    with _opened(path) as image:
        return image.is_float


def is_opaque(scene: bpy.types.Scene, strip: bpy.types.Strip, size: tuple[int, int]) -> bool:
    """True where the strip surely covers a canvas of ``size`` without alpha on every frame.

    Of an image sequence the first, middle and last file are looked at.
    """
    if strip.type not in {"MOVIE", "IMAGE"} or strip.blend_alpha < 1:
        return False
    if any(not modifier.mute for modifier in strip.modifiers):
        return False
    if is_animated(scene, strip) or not _is_in_place(strip):
        return False
    paths = list(files(strip))
    return all(_file_is_opaque(paths[i], size) for i in {0, len(paths) // 2, len(paths) - 1})


def _is_in_place(strip: bpy.types.Strip) -> bool:
    place, crop = strip.transform, strip.crop
    moved = (place.offset_x, place.offset_y, place.rotation, place.scale_x - 1, place.scale_y - 1)
    cropped = (crop.min_x, crop.max_x, crop.min_y, crop.max_y)
    return not any(moved) and not any(cropped)


def is_animated(scene: bpy.types.Scene, strip: bpy.types.Strip) -> bool:
    """Whether any property of the strip has an f-curve or driver (or may have one in the NLA)."""
    data = scene.animation_data
    if data is None:
        return False
    mark = f'_all["{bpy.utils.escape_identifier(strip.name)}"]'
    curves = (*data.drivers, *compat.fcurves(data))
    return len(data.nla_tracks) > 0 or any(mark in curve.data_path for curve in curves)


def _file_is_opaque(path: str, size: tuple[int, int]) -> bool:
    with _opened(path) as image:
        gray_or_rgb = (8, 24, 96) if not image.is_float else (32, 96)
        return tuple(image.size) == size and image.depth in gray_or_rgb


@contextmanager
def _opened(path: str) -> Iterator[bpy.types.Image]:
    image = bpy.data.images.load(path, check_existing=False)
    try:
        yield image
    finally:
        bpy.data.images.remove(image)
