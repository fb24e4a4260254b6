# SPDX-License-Identifier: GPL-3.0-or-later
"""Run in bpy on a folder made by the demo's film: times the export and Blender's plain renders."""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
PAIRS = 5


def main(folder: Path) -> dict:
    import bpy

    from tools.demo import project

    project.enable_extension()
    project.build(folder)
    part = f"{project.MODULE}.wan_blender.timeline"
    export, shot = (importlib.import_module(f"{part}.{name}") for name in ("export", "shot"))
    scene = bpy.context.scene
    request = shot.read_shot(scene, scene.sequence_editor.strips["clip"])
    scene.render.image_settings.file_format = "PNG"

    def exported() -> float:
        with tempfile.TemporaryDirectory() as out:
            return _seconds(lambda: export.export(request, Path(out)))

    def rendered(matte: bool) -> float:
        scene.sequence_editor.strips["ball mask"].mute = not matte
        with tempfile.TemporaryDirectory() as out:
            scene.render.filepath = f"{out}/"
            return _seconds(lambda: bpy.ops.render.render(animation=True))

    ratios = [exported() / (rendered(matte=False) + rendered(matte=True)) for _ in range(PAIRS + 1)]
    return {
        "ratio": statistics.median(ratios[1:]),
        "pairs": PAIRS,
        "frames": request.frame_count,
        "size": f"{request.width}x{request.height}",
        "version": f"Blender {bpy.app.version_string}",
    }


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    import bpy  # noqa: F401  (before addon_utils can be imported)

    stdout = os.dup(1)
    os.dup2(2, 1)  # Blender prints a line for every frame
    answer = main(Path(sys.argv[1]))
    import addon_utils

    addon_utils.disable("bl_ext.user_default.wan_blender")
    os.write(stdout, (json.dumps(answer) + "\n").encode())
