# SPDX-License-Identifier: GPL-3.0-or-later
"""The patch over the plate: exact outside, measured after writing.

Latents cannot promise untouched pixels (the decoder mixes every pixel of a frame), the composite
does: where the matte is 0 a result pixel is a copy of the plate's value.
"""

from __future__ import annotations

import cv2
import numpy as np

from ...core.mask_settings import Output
from ...light.tone import PLAIN, Tone
from ...masks.grid import frame_footprint
from .files import WHOLE, ShotFrames, from_model, stored, white
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


def as_held(alpha: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """``alpha`` as a patch of ``dtype`` holds it: what is laid over the plate here and by Blender
    is the same, also where it rounds to 0. float32, or float64 where 16 bits need it."""
    exact = np.float64 if dtype == np.uint16 else np.float32
    peak = exact(white(dtype))
    return stored(alpha.astype(exact) * peak, dtype).astype(exact) / peak


def over(
    plate: np.ndarray,
    generated: np.ndarray,
    alpha: np.ndarray,
    where_clear: str = "fill",
    tone: Tone = PLAIN,
) -> np.ndarray:
    """RGB of ``generated`` (float, [-1, 1], seen by ``tone``) over ``plate`` with ``alpha`` (H, W);
    pixels with alpha 0 are the plate's own values. A plate with alpha gets the union of both,
    1 - (1 - a)(1 - b), straight; or keeps its own, see ``patch``."""
    alpha = as_held(alpha, plate.dtype)
    if plate.shape[2] == 4 and where_clear != "fill":
        return _atop(plate, generated, alpha, tone)
    picture = from_model(generated, plate.dtype, tone)
    a = alpha[..., None]
    mixed = stored(a * picture + (1 - a) * plate[..., :3], plate.dtype)
    if plate.shape[2] == 4:
        mixed = np.concatenate([mixed, _union(plate[..., 3:], a, picture, plate, mixed)], 2)
    return np.where(a > 0, mixed, plate)


def _union(below, a, picture, plate, mixed) -> np.ndarray:
    """Alpha of the union; also corrects ``mixed`` in place for straight alpha below."""
    peak = white(plate.dtype)
    b = below.astype(np.float32) / peak
    total = 1 - (1 - a) * (1 - b)
    weight = np.divide(a, total, out=np.zeros_like(a), where=total > 0)
    mixed[...] = stored(weight * picture + (1 - weight) * plate[..., :3], plate.dtype)
    return stored(total * peak, plate.dtype)


def patch(
    plate: np.ndarray,
    generated: np.ndarray,
    alpha: np.ndarray,
    where_clear: str = "fill",
    tone: Tone = PLAIN,
) -> np.ndarray:
    """RGBA frame to lay over the plate: the generated picture where alpha > 0. Around it the
    plate's own colours stay, so that a scaled patch does not bleed black; far from it zeros.

    ``where_clear`` is what happens where the plate is transparent, see ``alpha`` of Shot: the patch
    fills it, or is as transparent; to "replace", the frame is whole and shown instead of the plate.
    """
    if plate.shape[2] == 4 and where_clear == "replace":
        return _atop(plate, generated, as_held(alpha, plate.dtype), tone)
    peak = white(plate.dtype)
    if plate.shape[2] == 4 and where_clear == "keep":
        alpha = alpha * (plate[..., 3] / peak)
    rgba = np.zeros((*plate.shape[:2], 4), plate.dtype)
    covered = alpha > 0
    if not covered.any():
        return rgba
    ys, xs = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    box = (
        slice(max(ys[0] - 16, 0), ys[-1] + 17),
        slice(max(xs[0] - 16, 0), xs[-1] + 17),
    )
    if plate.dtype.kind == "u":  # colours of EXR are multiplied by alpha: they cannot bleed
        rgba[box][..., :3] = plate[box][..., :3]
    rgba[..., :3][covered] = from_model(generated, plate.dtype, tone)[covered]
    rgba[..., 3] = stored(alpha * peak, plate.dtype)
    return rgba


def _atop(plate: np.ndarray, generated: np.ndarray, alpha: np.ndarray, tone: Tone) -> np.ndarray:
    """``generated`` over the colours of ``plate``, whose alpha stays (Porter and Duff's "atop",
    with straight alpha)."""
    a = alpha[..., None]
    if plate.dtype.kind == "f":  # in EXR, colour where alpha is 0 would be light of its own
        a = a * (plate[..., 3:] > 0)
    picture = from_model(generated, plate.dtype, tone)
    whole = plate.copy()
    mixed = stored(a * picture + (1 - a) * plate[..., :3], plate.dtype)
    whole[..., :3] = np.where(a > 0, mixed, plate[..., :3])
    return whole


def difference_outside(plate: np.ndarray, alpha: np.ndarray, files: list[np.ndarray]) -> float:
    """Largest difference between the plate and what was written, where the matte ``alpha`` is 0:
    in the plate's integer steps, of half float in sRGB values where white is 1. ``files`` are the
    patch (laid over the plate here) and, when they were written, the full frame."""
    rgba, clear = files[0], as_held(alpha, plate.dtype) == 0
    laid = clear & (rgba[..., 3] > 0)  # what a patch shows where it is to be clear
    written = rgba[laid][:, 3:] / np.float64(white(rgba.dtype))
    shown = stored(written * rgba[laid][:, :3] + (1 - written) * plate[laid][:, :3], plate.dtype)
    worst = np.abs(shown - plate[laid][:, :3].astype(np.float64)).max(initial=0)
    if plate.dtype.kind == "f":  # light without alpha is added, unless the frame is whole
        light = rgba[clear & (rgba[..., 3] == 0)][:, :3]
        own = light - plate[clear & (rgba[..., 3] == 0)][:, :3]
        added = np.minimum(np.abs(light).max(-1, initial=0), np.abs(own).max(-1, initial=0))
        worst = max(worst, added.max(initial=0))
    for frame in files[1:]:
        apart = cv2.absdiff(frame, plate).max(-1, initial=0, where=clear[..., None])
        worst = max(worst, apart.max(initial=0))
    return float(worst) if plate.dtype.kind == "f" else int(worst)
