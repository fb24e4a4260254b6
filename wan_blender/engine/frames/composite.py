# SPDX-License-Identifier: GPL-3.0-or-later
"""The patch over the plate: exact outside, measured after writing.

Latents cannot promise untouched pixels (the decoder mixes every pixel of a frame), the composite
does: where the matte is 0 a result pixel is a copy of the plate's integer value.
"""

from __future__ import annotations

import cv2
import numpy as np

from ...core.mask_settings import Output
from ...masks.grid import frame_footprint
from .files import WHOLE, ShotFrames, from_model
from .kept import Part
from .masks import MaskPlan, matte
from .region import Region


def matte_on_canvas(
    shot: ShotFrames,
    region: Region,
    plan: MaskPlan,
    output: Output,
    index: int,
    part: Part = WHOLE,
) -> np.ndarray:
    """Composite matte (H, W) of frame ``index`` on the canvas, or ``part`` of it that has all that
    is covered and the pixel around it; 0 outside the region."""
    inside = np.zeros((shot.height, shot.width), bool)
    inside[region.window] = True
    shown = inside
    if output.matte == "footprint":
        shown = inside.copy()
        cells = frame_footprint(plan.latent, region.grid, index) > 0
        shown[region.window] = region.restore_cells(cells)
    return matte(shot.shown_mask(index, part), shown[part], output) * inside[part]


def over(
    plate: np.ndarray, generated: np.ndarray, alpha: np.ndarray, where_clear: str = "fill"
) -> np.ndarray:
    """Integer RGB of ``generated`` (float, [-1, 1]) over ``plate`` (integer) with ``alpha``
    (H, W); pixels with alpha 0 are the plate's own values. A plate with alpha gets the union of
    both: 1 - (1 - a)(1 - b), straight; or keeps its own, see ``patch``."""
    if plate.shape[2] == 4 and where_clear != "fill":
        return _atop(plate, generated, alpha)
    picture = from_model(generated, plate.dtype)
    a = alpha[..., None]
    mixed = np.rint(a * picture + (1 - a) * plate[..., :3]).astype(plate.dtype)
    if plate.shape[2] == 4:
        mixed = np.concatenate([mixed, _union(plate[..., 3:], a, picture, plate, mixed)], 2)
    return np.where(a > 0, mixed, plate)


def _union(below, a, picture, plate, mixed) -> np.ndarray:
    """Alpha of the union; also corrects ``mixed`` in place for straight alpha below."""
    peak = np.iinfo(plate.dtype).max
    b = below.astype(np.float32) / peak
    total = 1 - (1 - a) * (1 - b)
    weight = np.divide(a, total, out=np.zeros_like(a), where=total > 0)
    mixed[...] = np.rint(weight * picture + (1 - weight) * plate[..., :3]).astype(plate.dtype)
    return np.rint(total * peak).astype(plate.dtype)


def patch(
    plate: np.ndarray, generated: np.ndarray, alpha: np.ndarray, where_clear: str = "fill"
) -> np.ndarray:
    """RGBA frame to lay over the plate: the generated picture where alpha > 0. Around it the
    plate's own colours stay, so that a scaled patch does not bleed black; far from it zeros.

    ``where_clear`` is what happens where the plate is transparent, see ``alpha`` of Shot: the patch
    fills it, or is as transparent; to "replace", the frame is whole and shown instead of the plate.
    """
    if plate.shape[2] == 4 and where_clear == "replace":
        return _atop(plate, generated, alpha)
    if plate.shape[2] == 4 and where_clear == "keep":
        alpha = alpha * (plate[..., 3] / np.iinfo(plate.dtype).max)
    peak = np.iinfo(plate.dtype).max
    rgba = np.zeros((*plate.shape[:2], 4), plate.dtype)
    covered = alpha > 0
    if not covered.any():
        return rgba
    ys, xs = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    box = (
        slice(max(ys[0] - 16, 0), ys[-1] + 17),
        slice(max(xs[0] - 16, 0), xs[-1] + 17),
    )
    rgba[box][..., :3] = plate[box][..., :3]
    rgba[..., :3][covered] = from_model(generated, plate.dtype)[covered]
    rgba[..., 3] = np.rint(alpha * peak).astype(plate.dtype)
    return rgba


def _atop(plate: np.ndarray, generated: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """``generated`` over the colours of ``plate``, whose alpha stays (Porter and Duff's "atop",
    with straight alpha)."""
    a = alpha[..., None]
    picture = from_model(generated, plate.dtype)
    whole = plate.copy()
    whole[..., :3] = np.rint(a * picture + (1 - a) * plate[..., :3])
    return whole


def difference_outside(plate: np.ndarray, alpha: np.ndarray, files: list[np.ndarray]) -> int:
    """Largest difference between the plate and what was written, where the matte ``alpha`` is 0,
    in the plate's integer steps. ``files`` are the patch (laid over the plate here) and, when they
    were written, the full frame."""
    rgba = files[0]
    laid = (alpha == 0) & (rgba[..., 3] > 0)  # what a patch shows where it is to be clear
    written = rgba[laid][:, 3:] / np.float64(np.iinfo(rgba.dtype).max)
    shown = np.rint(written * rgba[laid][:, :3] + (1 - written) * plate[laid][:, :3])
    worst = np.abs(shown - plate[laid][:, :3]).max(initial=0)
    for frame in files[1:]:
        apart = cv2.absdiff(frame, plate).max(-1, initial=0, where=(alpha == 0)[..., None])
        worst = max(worst, apart.max(initial=0))
    return int(worst)
