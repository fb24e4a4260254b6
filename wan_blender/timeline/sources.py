# SPDX-License-Identifier: GPL-3.0-or-later
"""What a strip's picture is made of: is it there, how deep is it, does it leave alpha."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy

from ..core.errors import UnsupportedClip
from ..light import exr
from . import compat, containers, picture_file

# Mask strips are mattes; the others show what lies under them, so alone they show nothing.
NOT_PICTURES = {"SOUND", "MASK", "ADJUSTMENT", "MULTICAM"}
DEEP_MODIFIERS = {"COMPOSITOR"}


def is_picture(strip: bpy.types.Strip) -> bool:
    return strip.type not in NOT_PICTURES


def a_kind(strip: bpy.types.Strip) -> str:
    """The kind as the interface calls it: "a mask strip", "an adjustment layer strip"."""
    kind = strip.bl_rna.properties["type"].enum_items[strip.type].name.lower()
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} strip"


def check_kind(strip: bpy.types.Strip) -> None:
    """Raise UnsupportedClip unless it is a strip with a picture."""
    if not is_picture(strip):
        raise UnsupportedClip(
            f"Strip {strip.name!r} is {a_kind(strip)} and has no picture to work on.",
            "Select the clip that shows the picture.",
        )


def check(strip: bpy.types.Strip, frames: range | None = None) -> None:
    """Raise UnsupportedClip unless the strip has a picture, and all that makes it on ``frames``, by
    default all of its own, is there."""
    check_kind(strip)
    for part, shown in _seen(strip, frames):
        missing = _missing(part, shown)
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
    return any(part.type != "META" and not shows_sequencer(part) for part, _ in _seen(strip))


def check_readable(strip: bpy.types.Strip, frames: range) -> None:
    """Raise UnsupportedClip where ``frames`` show a file that Blender cannot read: it would draw
    magenta instead.

    Reading decodes an image whole, some 40 ms at 1080p. So each image shown is read once, of a
    movie one frame, and only by the export, for which the editor does not wait.
    """
    for part, shown in _seen(strip, frames):
        for path in _shown_files(part, shown):
            if not _is_readable(path):
                raise UnsupportedClip(
                    f"Strip {part.name!r} shows a file that Blender cannot read: {path}.",
                    "Replace the file, trim it away or choose another.",
                )


def check_whole(strip: bpy.types.Strip, pictures: list[Path]) -> None:
    """Raise UnsupportedClip where a movie in the strip is cut short and ``pictures``, the exported
    frames, end with repetitions: Blender shows the last frame there is for those that lack."""
    for part, _ in _seen(strip):
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


def _shown_files(strip: bpy.types.Strip, frames: range) -> list[str]:
    """The strip's own media that is shown on ``frames``, each once."""
    paths = list(files(strip)) if frames else []
    if len(paths) < 2:
        return paths
    if strip.type == "IMAGE" and len(strip.retiming_keys):
        shown = (strip.strip_elem_from_frame(frame) for frame in frames)
        names = dict.fromkeys(element.filename for element in shown if element)
        return [_absolute(os.path.join(strip.directory, name), strip) for name in names]
    first, (cut, cut_end) = round(compat.content_start(strip)), compat.cut(strip)
    last = len(paths) - cut_end - 1
    indices = (min(max(frame - first, 0) + cut, last) for frame in frames)
    if strip.use_reverse_frames:
        indices = (cut + last - index for index in indices)
    return [paths[index] for index in dict.fromkeys(indices)]


def _is_readable(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        if file.read(len(exr.MAGIC)) == exr.MAGIC:
            return True  # with several layers the sequencer shows it, but Python cannot open it
    with picture_file.opened(path) as image:
        return image.size[0] > 0


def _seen(
    strip: bpy.types.Strip,
    frames: range | None = None,
    scenes: tuple[bpy.types.Scene, ...] = (),
) -> Iterator[tuple[bpy.types.Strip, range]]:
    """The strip and every picture strip it is made of, with the frames that are seen of each; what
    is muted, or shown on none of ``frames`` (by default all), is left out. In scene strips time is
    another: all frames count. ``scenes``: those we are in already."""
    shown = _both(compat.frames(strip), frames)
    if not shown:
        return
    yield strip, shown
    inside, seen = [], shown
    if strip.type == "META":
        inside = _unmuted(strip)
    elif shows_sequencer(strip) and strip.scene not in scenes:
        scenes, seen = (*scenes, strip.scene), None
        inside = _unmuted(strip.scene.sequence_editor) if strip.scene.sequence_editor else []
    inputs = [getattr(strip, slot, None) for slot in ("input_1", "input_2")]
    for part in filter(is_picture, inside):
        yield from _seen(part, seen, scenes)
    for part in inputs:
        if part is not None and is_picture(part):
            yield from _seen(part, None if strip.type == "SPEED" else shown, scenes)


def _both(own: range, frames: range | None) -> range:
    if frames is None:
        return own
    return range(max(own.start, frames.start), min(own.stop, frames.stop))


def _unmuted(level: Any) -> list[bpy.types.Strip]:
    """Strips of a timeline or meta strip that are shown."""
    return [s for s in level.strips if not s.mute and not level.channels[s.channel].mute]


def shows_sequencer(strip: bpy.types.Strip) -> bool:
    """Whether it is a scene strip that shows the scene's own timeline."""
    return strip.type == "SCENE" and bool(strip.scene) and strip.scene_input == "SEQUENCER"


def _missing(strip: bpy.types.Strip, frames: range) -> str:
    """What is not there of what ``frames`` show, in words; empty when nothing is missing."""
    if strip.type == "SCENE" and not strip.scene:
        return "no scene is set"
    if strip.type == "MOVIECLIP" and not strip.clip:
        return "no movie clip is set"
    return next((path for path in _shown_files(strip, frames) if not os.path.isfile(path)), "")


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


def bit_depth(strip: bpy.types.Strip, frames: range | None = None) -> int:
    """8, or 16 where any source or step of the strip's picture on ``frames``, by default all, is
    deeper than 8 bits."""
    return 16 if any(_is_deep(part, shown) for part, shown in _seen(strip, frames)) else 8


def is_float(strip: bpy.types.Strip, frames: range) -> bool:
    """Whether the strip's picture may be brighter than white: deep, and more than PNG files as they
    are."""
    parts = list(_seen(strip, frames))
    return any(_is_deep(*part) for part in parts) and (
        len(parts) > 1 or not _is_plain_png(*parts[0])
    )


def _is_plain_png(strip: bpy.types.Strip, frames: range) -> bool:
    changed = (
        any(not modifier.mute for modifier in strip.modifiers)
        or strip.color_multiply > 1
        or strip.color_saturation > 1
        or is_animated(strip.id_data, strip, ("blend_alpha", "mute"))
    )
    if strip.type != "IMAGE" or changed or _is_converted(strip) or not _is_in_place(strip):
        return False
    return all(map(picture_file.is_png, _shown_files(strip, frames)))


def _is_deep(strip: bpy.types.Strip, frames: range) -> bool:
    if strip.use_float or any(m.type in DEEP_MODIFIERS for m in strip.modifiers if not m.mute):
        return True
    if strip.type == "SCENE":
        return not shows_sequencer(strip)
    paths = _shown_files(strip, frames)
    return _is_converted(strip) or any(picture_file.look(path).is_deep for path in paths)


def _is_converted(strip: bpy.types.Strip) -> bool:
    """Whether the files are in another colour space than sRGB, on the way from which 8 bits are too
    few, and values above white can come about."""
    space = getattr(strip, "colorspace_settings", None)
    return space is not None and space.name not in ("sRGB", "")


def is_opaque(
    scene: bpy.types.Scene, strip: bpy.types.Strip, size: tuple[int, int], frames: range
) -> bool:
    """True where the strip's picture surely covers a canvas of ``size`` without alpha on each of
    ``frames``, before its opacity."""
    if strip.type not in {"MOVIE", "IMAGE"}:
        return False
    if any(not modifier.mute for modifier in strip.modifiers):
        return False
    if is_animated(scene, strip, ("blend_alpha", "mute")) or not _is_in_place(strip):
        return False
    found = map(picture_file.look, _shown_files(strip, frames))
    return all(file.size == size and not file.has_alpha for file in found)


def _is_in_place(strip: bpy.types.Strip) -> bool:
    place, crop = strip.transform, strip.crop
    moved = (place.offset_x, place.offset_y, place.rotation, place.scale_x - 1, place.scale_y - 1)
    cropped = (crop.min_x, crop.max_x, crop.min_y, crop.max_y)
    return not any(moved) and not any(cropped)


def is_animated(
    scene: bpy.types.Scene, strip: bpy.types.Strip, besides: tuple[str, ...] = ()
) -> bool:
    """Whether any property of the strip, ``besides`` those, has an f-curve or driver (or may have
    one in the NLA)."""
    data = scene.animation_data
    if data is None:
        return False
    mark = f'_all["{bpy.utils.escape_identifier(strip.name)}"]'
    paths = [curve.data_path for curve in (*data.drivers, *compat.fcurves(data))]
    moved = any(mark in path and path.rpartition(".")[2] not in besides for path in paths)
    return len(data.nla_tracks) > 0 or moved
