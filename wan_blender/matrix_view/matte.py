# SPDX-License-Identifier: GPL-3.0-or-later
"""Mattes that say where to blur, on the frame on view."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np

from ..core.errors import WanError
from ..hygiene.bands import resize
from ..timeline import mattes, shot
from ..timeline.matte_render import open_matte
from ..timeline.mattes import MatteChoice
from .part import CanvasPart, cut


class FollowedMatte:
    """The matte that the clip's blur follows, as it was on ``frame`` when it was chosen. ``error``
    is what keeps it from being read."""

    def __init__(self, frame: int) -> None:
        self.frame = frame
        self.error: WanError | None = None
        self._read: tuple[object, ...] = ()
        self._values: np.ndarray | float = 0.0

    def radius(
        self, scene: bpy.types.Scene, plate: bpy.types.Strip | None, part: CanvasPart
    ) -> np.ndarray | float:
        """Radii (H, W) at the part's size, or one number for all pixels."""
        hygiene = scene.wan.hygiene
        name = hygiene.matte if plate and hygiene.softens else ""
        wanted = (name, part) if name else ()
        if wanted != self._read and not bpy.app.is_job_running("RENDER"):
            self._read, self._values, self.error = wanted, 0.0, None
            try:
                self._values = self._find(scene, plate, name, part) if name else 0.0
            except WanError as error:
                self.error = error
        if wanted != self._read:
            return 0.0  # a render is under way; what was read before has another size
        return self._values * hygiene.matte_blur_px

    def _find(
        self, scene: bpy.types.Scene, plate: bpy.types.Strip, name: str, part: CanvasPart
    ) -> np.ndarray | float:
        matte = mattes.find_matte(scene, plate, name).id
        return read_matte(scene, plate, MatteChoice(matte), self.frame, part)


def read_matte(
    scene: bpy.types.Scene,
    plate: bpy.types.Strip,
    choice: MatteChoice,
    frame: int,
    part: CanvasPart,
) -> np.ndarray:
    """(H, W) in 0..1 at the part's size: a matte of ``plate`` on ``frame``. Raises WanError."""
    request = shot.read_shot(scene, plate, [choice])
    one = replace(request, frame_start=frame, frame_count=1)
    with (
        tempfile.TemporaryDirectory(prefix="wan-matte-") as folder,
        open_matte(scene, plate, one, choice, Path(folder) / "matte") as values,
    ):
        canvas = np.broadcast_to(next(iter(values)), (request.height, request.width))
    seen = np.ascontiguousarray(cut(canvas, part), np.float32)
    return resize(seen[..., None], *part.size)[..., 0]
