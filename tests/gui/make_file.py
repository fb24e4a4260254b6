# SPDX-License-Identifier: GPL-3.0-or-later
"""Run in a background Blender: a file with an encoded clip and a moving, keyframed mask over it.

blender --background --factory-startup --python make_file.py -- FOLDER
"""

import sys
from pathlib import Path

import bpy

FRAMES, WIDTH, HEIGHT = 17, 160, 96


def draw_clip(scene, path: Path) -> None:
    """Encode stripes that move, through the sequencer itself."""
    strips = scene.sequence_editor_create().strips
    for index in range(5):
        colour = strips.new_effect(
            name=f"c{index}", type="COLOR", channel=1 + index, frame_start=1, length=FRAMES
        )
        colour.color = (0.1 + 0.18 * index, 0.55 - 0.1 * index, 0.25 + 0.1 * index)
        colour.blend_type = "ALPHA_OVER"
        colour.transform.offset_x = index * WIDTH // 5
        colour.transform.keyframe_insert("offset_x", frame=1)
        colour.transform.offset_x += 12 * index
        colour.transform.keyframe_insert("offset_x", frame=FRAMES)
    render = scene.render
    render.image_settings.media_type = "VIDEO"
    render.image_settings.file_format = "FFMPEG"
    render.ffmpeg.format, render.ffmpeg.codec = "MKV", "FFV1"
    render.filepath = str(path)
    bpy.ops.render.render(animation=True)
    for strip in list(strips):
        strips.remove(strip)


def draw_mask():
    mask = bpy.data.masks.new("Square")
    spline = mask.layers.new(name="Layer").splines.new()
    spline.points.add(3)
    spline.use_cyclic = True
    corners = ((0.2, 0.35), (0.5, 0.35), (0.5, 0.65), (0.2, 0.65))
    for point, corner in zip(spline.points, corners):
        point.co = corner
        point.handle_left_type = point.handle_right_type = "VECTOR"
    return mask


def main() -> None:
    folder = Path(sys.argv[sys.argv.index("--") + 1])
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = WIDTH, HEIGHT
    scene.frame_start, scene.frame_end = 1, FRAMES
    draw_clip(scene, folder / "stripes.mkv")
    strips = scene.sequence_editor.strips
    clip = strips.new_movie(
        name="stripes.mkv", filepath=str(folder / "stripes.mkv"), channel=1, frame_start=1
    )
    matte = strips.new_mask(name="Square", mask=draw_mask(), channel=2, frame_start=1)
    matte.duration = FRAMES
    matte.mute = True  # shown, it would hide the clip
    for frame, offset in ((1, 0), (FRAMES, WIDTH // 3)):
        matte.transform.offset_x = offset
        matte.transform.keyframe_insert("offset_x", frame=frame)
    for strip in strips:
        strip.select = strip == clip
    scene.sequence_editor.active_strip = clip
    scene.wan.prompt.text = "a red ball"
    scene.wan.sampling.steps = 4
    bpy.context.workspace.sequencer_scene = scene
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))


main()
