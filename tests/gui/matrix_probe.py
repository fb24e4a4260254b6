# SPDX-License-Identifier: GPL-3.0-or-later
"""Run inside the Blender under test: opens the matrix view of a picture, then tells what it sees.

    blender --python matrix_probe.py -- FOLDER       FOLDER holds frame.png (832x480)

state.json, every twentieth of a second: whether the view is there, where the picture stands on the
screen, the glow of its left and right half, and how often it was updated. A file named ``do`` holds
what it is to press next.
"""

import json
import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import addon_utils
import bpy

FOLDER = Path(sys.argv[sys.argv.index("--") + 1])
EXTENSION = "bl_ext.user_default.wan_blender"
seen = {"updates": [], "version": 0}


def areas(kind: str) -> list[bpy.types.Area]:
    return [a for a in bpy.context.window_manager.windows[0].screen.areas if a.type == kind]


def press(words: str) -> None:
    """One of ACTIONS, in the Image Editor, as its button does."""
    window, area = bpy.context.window_manager.windows[0], areas("IMAGE_EDITOR")[0]
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=area, region=region):
        ACTIONS[words]()


def show(view: str) -> None:
    bpy.context.window_manager.wan_matrix.view = view


def choose(number: int) -> None:
    bpy.context.window_manager.wan_matrix.active = number


ACTIONS = {
    "treat": lambda: bpy.ops.wan.treat_hygiene("EXEC_DEFAULT", True),
    "report": lambda: bpy.ops.wan.report_frequencies("EXEC_DEFAULT", True, treated=True),
    "choose 2": lambda: choose(1),
    "fit": lambda: bpy.ops.image.view_all(fit_view=True),
    **{view: lambda view=view: show(view) for view in ("MATRIX", "WIPE", "DIFFERENCE", "TREATED")},
}


def begin() -> None:
    addon_utils.enable(EXTENSION, default_set=True)
    scene, window = bpy.context.scene, bpy.context.window_manager.windows[0]
    scene.render.resolution_x, scene.render.resolution_y = 832, 480
    largest = max(window.screen.areas, key=lambda area: area.width * area.height)
    largest.type = "SEQUENCE_EDITOR"
    with bpy.context.temp_override(window=window, area=largest):
        bpy.ops.screen.area_split(direction="VERTICAL", factor=0.25)
    max(areas("SEQUENCE_EDITOR"), key=lambda area: area.width).type = "IMAGE_EDITOR"
    bpy.context.workspace.sequencer_scene = scene
    strips = scene.sequence_editor_create().strips
    strip = strips.new_image("Frame", str(FOLDER / "frame.png"), 1, 1)
    scene.sequence_editor.active_strip = strip
    with bpy.context.temp_override(window=window, area=areas("SEQUENCE_EDITOR")[0]):
        bpy.ops.wan.open_hygiene_view("EXEC_DEFAULT", True)  # with its undo step, as a button
    bpy.app.timers.register(tell, first_interval=1.0)


def tell() -> float:
    for region in areas("IMAGE_EDITOR")[0].regions:
        if region.type == "UI" and region.active_panel_category not in ("Wan", "UNSUPPORTED"):
            region.active_panel_category = "Wan"
    task = FOLDER / "do"
    if task.exists():
        press(task.read_text())
        task.unlink()
    view = import_module(f"{EXTENSION}.wan_blender.matrix_view").view()
    window, area = bpy.context.window_manager.windows[0], areas("IMAGE_EDITOR")[0]
    region = next(region for region in area.regions if region.type == "WINDOW")
    corners = [region.view2d.view_to_region(v, v, clip=False) for v in (0, 1)]
    if view.version != seen["version"]:
        seen["version"] = view.version
        seen["updates"].append(round(time.monotonic(), 3))
    settings = bpy.context.window_manager.wan_matrix
    half = view.rgb.shape[1] // 2
    state = {
        "picture": [
            region.x + corners[0][0],
            window.height - region.y - corners[1][1],
            region.x + corners[1][0],
            window.height - region.y - corners[0][1],
        ],
        "left": float(view.after.glow[:, :half].mean()),
        "right": float(view.after.glow[:, half:].mean()),
        "radius": float(view.radius.max()),
        "score": view.after.score,
        "mode": bpy.context.scene.wan.hygiene.mode,
        "shown": area.spaces.active.image == view.image,
        "updates": seen["updates"],
        "busy": view.busy,
        "faces": view.faces,
        "report": asdict(view.report) if view.report else None,
        "zoom": corners[1][0] - corners[0][0],
        "sinks": [[item.name, item.icon, item.radius] for item in settings.sinks],
    }
    part = FOLDER / "state.part"
    part.write_text(json.dumps(state))
    part.replace(FOLDER / "state.json")
    return 0.05


bpy.app.timers.register(begin, first_interval=1.0)
