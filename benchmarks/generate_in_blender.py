# SPDX-License-Identifier: GPL-3.0-or-later
"""Run in bpy on a folder made by the demo's film: times what follows a press of Generate in a
window, saving the copy, the background export and the engine, up to the first denoise step."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from in_blender import answer, open_demo

LIMIT_S = 300


def main(folder: Path) -> dict:
    import bpy

    state, request, preferences, session = open_demo(
        folder, "host.state", "host.request", "host.preferences", "host.session"
    )
    # In background mode both would export here and wait for the end.
    window = SimpleNamespace(app=SimpleNamespace(background=False), context=bpy.context)
    request.bpy = session.bpy = window
    scene = bpy.context.scene
    scene.wan.sampling.steps = 2
    pressed, exported, first_step = [], [], []
    with tempfile.TemporaryDirectory() as jobs:
        preferences.get().jobs = jobs
        for _ in ("cold", "warm"):
            scene.wan.sampling.seed += 1
            began = time.perf_counter()
            local = request.submit(request.read(scene, "clip"))
            pressed.append(time.perf_counter() - began)
            local.wants_placing = False
            _tick_until(state, local, lambda local=local: local.phase.value != "exporting")
            exported.append(time.perf_counter() - began)
            _tick_until(state, local, lambda local=local: _has_denoised(local.progress))
            first_step.append(time.perf_counter() - began)
            _tick_until(state, local, lambda local=local: not local.active)
    return {
        "pressed": pressed,
        "exported": exported,
        "first_step": first_step,
        "frames": scene.frame_end,
        "size": f"{scene.render.resolution_x}x{scene.render.resolution_y}",
        "version": f"Blender {bpy.app.version_string}",
    }


def _tick_until(state, local, reached) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not reached():
        if local.error or time.monotonic() > deadline:
            raise SystemExit(f"{local.phase}: {local.error}")
        state.host().session.tick()
        time.sleep(0.02)


def _has_denoised(progress) -> bool:
    return bool(progress) and progress.phase == "denoising" and progress.step > 0


if __name__ == "__main__":
    answer(main)
