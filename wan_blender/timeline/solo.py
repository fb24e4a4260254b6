# SPDX-License-Identifier: GPL-3.0-or-later
"""A strip alone on its canvas: a throw-away copy of the scene that renders nothing else.

The user's scene is never touched. Strips of the copy are muted, not removed: removing a strip
would also remove its f-curves from the action that both scenes share.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
import numpy as np

from ..core.errors import BadRequest, UnsupportedClip, disk_full
from ..light import exr
from . import animation, compat, png

FRAMES_A_CALL = 8
IS_WHOLE = {"PNG": png.is_whole, "OPEN_EXR": exr.is_whole}
NEUTRAL_VIEW = {"exposure": 0.0, "gamma": 1.0, "use_curve_mapping": False}


@contextmanager
def solo_scene(
    scene: bpy.types.Scene, strip: str | None, picture: bool = False, bare: bool = False
) -> Iterator[bpy.types.Scene]:
    """A copy of ``scene`` that shows only ``strip`` (with None: nothing), in place and in time,
    over transparency, with display values as the sequencer holds them.

    A ``picture`` is shown as it is before blending and opacity, which are the timeline's and reach
    the result there; ``bare`` is without its modifiers too.
    """
    copy = scene.copy()
    outer = _metas_around(copy, strip)
    own = ("blend_alpha",) * picture + ("modifiers",) * bare

    def is_set_here(name: str, path: str) -> bool:
        return path == "mute" or name in outer or (name == strip and path.startswith(own))

    actions = animation.without(copy, is_set_here)  # keyframes would set it again on each frame
    try:
        _drop_world(copy)
        _neutral_output(copy)
        editor = copy.sequence_editor
        editor.use_prefetch = editor.use_cache_raw = editor.use_cache_final = False
        for other in editor.strips:
            other.mute = True
        if strip is not None:
            shown = editor.strips_all[strip]
            show_only(copy, shown)
            if picture:
                shown.blend_type, shown.blend_alpha = "REPLACE", 1.0
            for modifier in shown.modifiers if bare else ():
                modifier.mute = True
        yield copy
    finally:
        bpy.data.scenes.remove(copy)
        for action in actions:
            bpy.data.actions.remove(action)


def _metas_around(scene: bpy.types.Scene, strip: str | None) -> set[str]:
    """Names of the meta strips that the strip is in."""
    names, level = set(), scene.sequence_editor.strips_all[strip] if strip is not None else None
    while level is not None and (level := level.parent_meta()) is not None:
        names.add(level.name)
    return names


def _drop_world(scene: bpy.types.Scene) -> None:
    """Nothing 3D is rendered, so nothing 3D needs to be evaluated on every frame."""
    root = scene.collection
    for child in list(root.children):
        root.children.unlink(child)
    for item in list(root.objects):
        root.objects.unlink(item)


def _neutral_output(scene: bpy.types.Scene) -> None:
    render = scene.render
    render.use_sequencer, render.use_compositing = True, False
    render.use_multiview = render.use_border = render.use_stamp = False
    render.use_placeholder = render.use_file_extension = False
    render.use_overwrite = True
    scene.frame_step = 1
    space = scene.sequencer_colorspace_settings
    if not space.name.lower().startswith(("linear", "scene_linear")):
        # Any other space rounds 8-bit values on their way into it and out again, AgX's by 35 of 255
        space.name = "sRGB"
    render.dither_intensity = 0
    render.metadata_input = "SCENE"
    for setting in render.bl_rna.properties:
        if setting.identifier.startswith("use_stamp_"):
            setattr(render, setting.identifier, False)  # no dates and paths in the files
    view = scene.view_settings
    try:
        scene.display_settings.display_device = "sRGB"
        view.view_transform, view.look = "Standard", "None"
    except TypeError as error:
        raise BadRequest(
            f"This Blender's colour configuration has no plain sRGB view: {error}.",
            "Start Blender without the OCIO environment variable to export shots.",
        ) from error
    for name, value in NEUTRAL_VIEW.items():
        setattr(view, name, value)
    if hasattr(view, "use_white_balance"):
        view.use_white_balance = False
    render.image_settings.color_management = "FOLLOW_SCENE"


def show_only(scene: bpy.types.Scene, strip: bpy.types.Strip) -> None:
    """Show ``strip`` in a solo scene, where all others on the timeline are muted."""
    if strip.type == "MASK":
        strip.use_float = True  # else its values are rounded to 8 bits
    if strip.type == "MASK" or strip.blend_type != "REPLACE":
        # Replace puts opacity into the colours and not into alpha; all others need a strip below.
        strip.blend_type = "ALPHA_OVER"
    meta = strip.parent_meta()
    if meta is None:
        scene.sequence_editor.channels[strip.channel].mute = False
    else:
        meta.channels[strip.channel].mute = False
        for other in meta.strips:
            other.mute = True
        _open_meta(meta)
        show_only(scene, meta)
    strip.mute = False


def _open_meta(meta: bpy.types.MetaStrip) -> None:
    """Let a meta strip show all its content as it is: the result goes inside it again."""
    compat.measure_content(meta)
    compat.trim(meta, 0, 0)
    for owner, names, value in (
        (meta.transform, ("offset_x", "offset_y", "rotation"), 0),
        (meta.transform, ("scale_x", "scale_y"), 1),
        (meta.crop, ("min_x", "max_x", "min_y", "max_y"), 0),
        (meta, ("blend_alpha", "color_multiply", "color_saturation"), 1),
        (meta, ("use_flip_x", "use_flip_y", "use_reverse_frames"), False),
        *((modifier, ("mute",), True) for modifier in meta.modifiers),
    ):
        for name in names:
            setattr(owner, name, value)


def write_png(scene: bpy.types.Scene, mode: str, depth: int) -> None:
    """Let ``render`` write PNG: ``mode`` RGB or RGBA (straight alpha), ``depth`` 8 or 16."""
    _image_format(scene, "PNG", mode, depth)
    # Where PNG's time goes: level 15 costs a half more than reading the clip, for 10 % of size.
    scene.render.image_settings.compression = 5


def write_exr(scene: bpy.types.Scene) -> None:
    """Let ``render`` write what ``exr.read`` reads: RGBA, linear Rec.709 floats, alpha multiplied
    in."""
    _image_format(scene, "OPEN_EXR", "RGBA", 32)
    compat.write_rec709(scene)
    scene.render.image_settings.exr_codec = "NONE"


def write_mask(scene: bpy.types.Scene) -> None:
    """Let ``render`` write one channel for ``exr.read``: the values of a Mask strip times its
    opacity. With a linear timeline no colour conversion comes near them."""
    scene.sequencer_colorspace_settings.name = "Linear Rec.709"
    _image_format(scene, "OPEN_EXR", "BW", 32)
    compat.write_rec709(scene)
    scene.render.image_settings.exr_codec = "NONE"


def _image_format(scene: bpy.types.Scene, name: str, mode: str, depth: int) -> None:
    compat.write_images(scene)
    settings = scene.render.image_settings
    settings.file_format = name
    settings.color_mode = mode
    settings.color_depth = str(depth)


def render(scene: bpy.types.Scene, frames: range, folder: Path) -> Iterator[Path]:
    """Render frames of a solo scene to files in ``folder``, in order, a few ahead of the reader.

    As animations: a still of a scene that no window shows is rendered with the values that
    keyframes left behind, not with those of the frame. And several frames at a time: each call
    costs as much as half a frame. Raises DiskFull: Blender itself does not notice.
    """
    is_whole = IS_WHOLE[scene.render.image_settings.file_format]
    pattern = str(folder).replace("{", "{{").replace("}", "}}")  # braces name variables
    scene.render.filepath = os.path.join(pattern, "render######")
    for first in range(frames.start, frames.stop, FRAMES_A_CALL):
        scene.frame_start = first
        scene.frame_end = min(first + FRAMES_A_CALL, frames.stop) - 1
        bpy.ops.render.render(animation=True, scene=scene.name)
        for frame in range(scene.frame_start, scene.frame_end + 1):
            rendered = folder / f"render{frame:06d}"
            if not rendered.is_file():
                raise UnsupportedClip(
                    f"Blender wrote no picture for frame {frame}.",
                    "See its console for the reason.",
                )
            if not is_whole(rendered):
                raise disk_full(f"The picture of frame {frame} could not be written.", folder)
            yield rendered


def read_finite(
    file: Path, channels: str, strip: bpy.types.Strip, frame: int
) -> dict[str, np.ndarray]:
    """A rendered file as ``exr.read`` gives it. Raises UnsupportedClip where one of ``channels`` is
    NaN or infinite, which as a mask would mean to keep or to generate by chance."""
    planes = exr.read(file)
    finite = np.all([np.isfinite(planes[name]) for name in channels], axis=0)
    count = finite.size - int(np.count_nonzero(finite))
    if count:
        raise UnsupportedClip(
            f"Strip {strip.name!r} has {count} of {finite.size} pixels on frame {frame} that are "
            "no numbers (NaN or infinite) and cannot say where to generate.",
            "Fix the file or the nodes they come from, or choose another matte.",
        )
    return planes
