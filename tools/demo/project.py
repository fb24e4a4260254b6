# SPDX-License-Identifier: GPL-3.0-or-later
"""The Blender half of the demo, run in an environment that has bpy.

project.py build FOLDER             demo.blend: the clip and a keyframed mask over it
project.py generate FOLDER PROMPT   the headless command on it; saves the result strip
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODULE = "bl_ext.user_default.wan_blender"


def enable_extension() -> None:
    """From this tree, in the user folder that BLENDER_USER_RESOURCES names."""
    place = Path(os.environ["BLENDER_USER_RESOURCES"]) / "extensions" / "user_default"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "wan_blender").exists():
        (place / "wan_blender").symlink_to(ROOT)
    import addon_utils

    addon_utils.enable(MODULE, default_set=True)


def build(folder: Path) -> None:
    import bpy

    track = json.loads((folder / "track.json").read_text())
    scene = bpy.context.scene
    scene.render.resolution_x = scene.render.resolution_y = track["size"]
    scene.render.resolution_percentage = 100
    scene.render.fps = track["fps"]
    scene.frame_start, scene.frame_end = 1, track["frames"]
    strips = scene.sequence_editor_create().strips
    clip = strips.new_movie("clip", str(folder / "clip.mp4"), channel=1, frame_start=1)
    mask = moving_box(track["boxes"])
    matte = strips.new_mask("ball mask", mask, channel=2, frame_start=1)
    matte.frame_final_duration = track["frames"]
    matte.mute = True  # it says where, it is not to be seen
    scene.sequence_editor.active_strip = clip
    clip.select, matte.select = True, False
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "demo.blend"), relative_remap=True)


def moving_box(boxes: list[list[float]], keys: int = 5) -> Any:
    """A Mask whose four points follow ``boxes`` (left, bottom, right, top in 0..1), with shape
    keys as an editor would set them."""
    import bpy

    mask = bpy.data.masks.new("ball")
    spline = mask.layers.new(name="box").splines.new()
    spline.points.add(3)
    spline.use_cyclic = True
    window = bpy.context.window_manager.windows[0]
    area = window.screen.areas[0]
    area.type = "IMAGE_EDITOR"
    area.spaces.active.mode, area.spaces.active.mask = "MASK", mask
    region = next(r for r in area.regions if r.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=area, region=region):
        for key in range(keys):
            index = round(key * (len(boxes) - 1) / (keys - 1))
            bpy.context.scene.frame_set(index + 1)
            left, bottom, right, top = boxes[index]
            corners = ((left, bottom), (right, bottom), (right, top), (left, top))
            for point, corner in zip(spline.points, corners):
                point.handle_left_type = point.handle_right_type = "VECTOR"
                point.co, point.select = corner, True
            bpy.ops.mask.shape_key_insert()
    bpy.context.scene.frame_set(1)
    return mask


def generate(folder: Path, prompt: str) -> int:
    import bpy

    bpy.ops.wm.open_mainfile(filepath=str(folder / "demo.blend"))
    command_line = importlib.import_module(f"{MODULE}.wan_blender.host.command_line")
    return command_line.main(
        [
            "generate",
            "--strip=clip",
            f"--prompt={prompt}",
            "--set=sampling.seed=3",
            "--set=sampling.guidance=3",  # what the bundled model was measured with
            "--set=sampling.shift=3",
            "--set=output.full_frames=true",
            f"--out={folder / 'job'}",
            f"--save={folder / 'demo.blend'}",
        ]
    )


def main() -> int:
    import addon_utils

    enable_extension()
    command, folder, *rest = sys.argv[1:]
    try:
        return generate(Path(folder), *rest) if command == "generate" else build(Path(folder)) or 0
    finally:
        addon_utils.disable(MODULE)  # bpy 4.5 hangs at exit while a panel is registered


if __name__ == "__main__":
    import bpy  # noqa: F401  (before addon_utils can be imported)

    sys.exit(main())
