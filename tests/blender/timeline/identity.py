# SPDX-License-Identifier: GPL-3.0-or-later
"""A run whose engine hands the plate back, and what the timeline looks like before and after."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from tests.blender import media
from wan_blender.core import schema
from wan_blender.core.settings import Job
from wan_blender.timeline import compat
from wan_blender.timeline.export import export
from wan_blender.timeline.mattes import MatteChoice
from wan_blender.timeline.place import Placement, place
from wan_blender.timeline.shot import read_shot
from wan_blender.timeline.span import Span


def render(timeline: Any, frames: range, name: str, view: str | None = "Standard") -> np.ndarray:
    """(T, H, W, 3): the timeline as Blender renders it, 16 bits a channel; without a ``view``
    through the one that is set."""
    scene = timeline.scene
    scene.view_settings.view_transform = view or scene.view_settings.view_transform
    scene.render.dither_intensity = 0
    compat.write_images(scene)
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGB", "16"
    scene.frame_start, scene.frame_end = frames.start, frames.stop - 1
    scene.render.filepath = str(timeline.folder / name / "######.png")
    timeline.bpy.ops.render.render(animation=True)
    paths = [timeline.folder / name / f"{frame:06d}.png" for frame in frames]
    return np.stack([media.read_png(path) for path in paths])


def run(
    timeline: Any,
    strip: str,
    where: str = "auto",
    span: Span | None = None,
    matte: str = "whole",
    change: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Any:
    """The placed strip of a run over the strip's frames. The engine hands them back, or what
    ``change`` makes of each (H, W, 4)."""
    scene, folder = timeline.scene, timeline.folder / f"job {len(list(timeline.folder.iterdir()))}"
    plate = scene.sequence_editor.strips_all[strip]
    request = read_shot(scene, plate, [MatteChoice(matte)], span, place=where)
    placement = Placement.of(scene, request)
    shot = export(request, folder)
    shutil.copytree(folder / "plate", folder / "result" / "patch")
    for path in sorted((folder / "result" / "patch").iterdir()) if change else ():
        frame = media.read_png(path).astype(int)
        opaque = np.full_like(frame[..., :1], 255)
        frame = frame if frame.shape[2] == 4 else np.dstack([frame, opaque])
        media.write_png(path, np.abs(change(frame)).astype(np.uint8))
    settings = Job(shot=shot)
    settings.output.place = where
    recipe = {
        "job": schema.to_dict(settings),
        **{k: asdict(request)[k] for k in ("mattes", "span")},
    }
    return place(scene, placement, folder / "result", "patch", recipe)
