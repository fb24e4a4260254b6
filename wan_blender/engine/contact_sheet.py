# SPDX-License-Identifier: GPL-3.0-or-later
"""What a result looks like at a glance: a strip of frames, and how much it flickers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..core import job as jobs
from ..core.errors import WanError
from ..core.result import find_result
from ..core.settings import Shot
from ..farm.report import Look
from .frames.files import read_frame, to_mask
from .frames.pictures import scale_inside

FRAMES = 4
TILE_PX = (240, 135)  # at most, of each frame
JPEG_QUALITY = 82


def look_at(folder: Path) -> Look | None:
    """The result of the job ``folder``, plate and patch composited, at four times of the shot; None
    where it cannot be read."""
    result = find_result(folder)
    try:
        shot = jobs.read(folder).shot
        patch = result / jobs.PATCH if result else None
        return _look(folder / jobs.PLATE, patch, shot) if patch and patch.is_dir() else None
    except (WanError, OSError, ValueError, cv2.error):
        return None


def _look(plate: Path, patch: Path, shot: Shot) -> Look:
    tiles, moved, count = [], [], shot.frame_count
    for index in sorted({round(n * (count - 1) / (FRAMES - 1)) for n in range(FRAMES)}):
        tiles.append(_tile(_shown(plate, patch, index, shot)))
        if 0 < index < count - 1:
            moved.append(_second_difference(patch, index, shot))
    sheet = np.concatenate(tiles, 1)
    written, data = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not written:
        raise ValueError("the sheet could not be written")
    seen = [value for value in moved if value is not None]
    return Look(data.tobytes(), float(np.mean(seen)) if seen else None)


def _shown(plate: Path, patch: Path, index: int, shot: Shot) -> np.ndarray:
    """(H, W, 3) float32 in 0..1: the frame as the editor sees it."""
    below, above = (_unit(folder, index, shot) for folder in (plate, patch))
    alpha = above[..., 3:]
    return alpha * above[..., :3] + (1 - alpha) * below[..., :3]


def _unit(folder: Path, index: int, shot: Shot) -> np.ndarray:
    """What a display can show of it."""
    return to_mask(read_frame(folder / jobs.picture_name(index, shot))).clip(0, 1)


def _tile(picture: np.ndarray) -> np.ndarray:
    """uint8 RGB, as large as all frames of the shot become."""
    return (scale_inside(picture, *TILE_PX) * 255 + 0.5).astype(np.uint8)


def _second_difference(patch: Path, index: int, shot: Shot) -> float | None:
    """Mean |f(t-1) - 2 f(t) + f(t+1)| / 2 where the patch covers all three frames: even motion of
    light leaves none, what jumps to and fro leaves most. None where it covers nothing."""
    three = np.stack([_unit(patch, index + step, shot) for step in (-1, 0, 1)])
    covered = (three[..., 3] > 0.5).all(0)
    if not covered.any():
        return None
    colour = three[..., :3]
    return float(np.abs(colour[0] - 2 * colour[1] + colour[2])[covered].mean() / 2)
