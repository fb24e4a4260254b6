# SPDX-License-Identifier: GPL-3.0-or-later
"""Run in bpy on a folder made by the demo's film: times the export and Blender's plain renders."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from in_blender import answer, open_demo

PAIRS = 5


def main(folder: Path) -> dict:
    import bpy

    export, shot = open_demo(folder, "timeline.export", "timeline.shot")
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
    answer(main)
