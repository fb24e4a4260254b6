# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the plate leaves the canvas empty, in space and in time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import bpy
import numpy as np

from . import solo, sources
from .shot import ShotRequest
from .span import ShotPart


def emptiness(
    scene: bpy.types.Scene, request: ShotRequest, scratch: Path
) -> Iterator[np.ndarray | float]:
    """For each frame of the shot 1 minus the alpha of its strip, (H, W) float32; 1 on frames that
    no strip shows. Close it when it is not read to its end."""
    frame = request.frame_start
    for part in request.parts:
        yield from repeat(1.0, part.frame_start - frame)
        yield from _uncovered(scene, request, part, scratch)
        frame = part.frames.stop
    yield from repeat(1.0, request.frames.stop - frame)


def _uncovered(
    scene: bpy.types.Scene, request: ShotRequest, part: ShotPart, scratch: Path
) -> Iterator[np.ndarray | float]:
    with solo.solo_scene(scene, part.strip, picture=True) as alone:
        strip = alone.sequence_editor.strips_all[part.strip]
        if sources.is_opaque(alone, strip, (request.width, request.height), part.frames):
            yield from repeat(0.0, part.frame_count)
            return
        solo.write_exr(alone)
        scratch.mkdir()
        try:
            rendered = solo.render(alone, part.frames, scratch)
            for frame, file in zip(part.frames, rendered, strict=True):
                alpha = solo.read_finite(file, "A", strip, frame)["A"]
                yield 1 - np.clip(alpha, 0.0, 1.0)
                file.unlink()
        finally:
            shutil.rmtree(scratch)
