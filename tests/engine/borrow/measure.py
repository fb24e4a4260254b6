# SPDX-License-Identifier: GPL-3.0-or-later
"""How near to the clean plate a filled shot is.

Truth is the clean plate without grain, on pixels that another frame shows. A borrowed pixel brings
the grain of its donor, which is right but costs as much as the plate's own grain does: ``ceiling``
is what the clean plate with its own grain reaches against the same truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tests.engine.borrow.clips import ClipTruth
from wan_blender.engine.borrow.notes import SURE
from wan_blender.engine.borrow.shot import Borrower


@dataclass(frozen=True)
class Measured:
    """``db`` over all pixels that are shown, ``sure_db`` over those of them that are used, ``used``
    their share; ``shown`` is the share of the mask. ``false`` is the share of the mask that is used
    though no frame shows it. Flicker is the root mean square change of the error from frame to
    frame, 8-bit levels."""

    name: str
    shown: float
    used: float
    false: float
    db: float
    sure_db: float
    ceiling: float
    telea: float
    navier_stokes: float
    flicker: float
    own_flicker: float
    pictures: np.ndarray
    confidence: np.ndarray


def measure_clip(clip: ClipTruth) -> Measured:
    peak = np.iinfo(clip.plate.dtype).max
    found = list(Borrower(clip.plate, clip.mask))
    pictures = np.stack([b.picture for b in found])
    confidence = np.stack([b.confidence for b in found])
    masked, used = clip.mask > 0, confidence >= SURE
    error = pictures[..., :3].astype(np.float32) / peak - clip.clean
    own = clip.grained[..., :3].astype(np.float32) / peak - clip.clean
    shown = clip.shown
    sure = used & shown
    painted = [
        psnr((paint_over(clip, how) - clip.clean)[shown])
        for how in (cv2.INPAINT_TELEA, cv2.INPAINT_NS)
    ]
    return Measured(
        clip.name,
        shown.sum() / masked.sum(),
        sure.sum() / max(1, shown.sum()),
        (used & ~shown).sum() / masked.sum(),
        psnr(error[shown]),
        psnr(error[sure]),
        psnr(own[shown]),
        *painted,
        flicker(error, sure),
        flicker(own, sure),
        pictures,
        confidence,
    )


def paint_over(clip: ClipTruth, how: int) -> np.ndarray:
    """OpenCV's inpainting of each frame by itself, (T, H, W, 3) in 0..1; it takes 8 bits."""
    peak = np.iinfo(clip.plate.dtype).max
    frames = []
    for plate, mask in zip(clip.plate, clip.mask):
        byte = np.rint(plate[..., :3].astype(np.float32) * (255 / peak)).astype(np.uint8)
        frames.append(cv2.inpaint(byte, (mask > 0).astype(np.uint8), 3, how))
    return np.stack(frames).astype(np.float32) / 255


def psnr(error: np.ndarray) -> float:
    """dB of an error in 0..1."""
    return float(-10 * np.log10(max(1e-10, np.mean(np.square(error, dtype=np.float64)))))


def flicker(error: np.ndarray, where: np.ndarray) -> float:
    changes = [
        (after - before)[both]
        for before, after, both in zip(error, error[1:], where[:-1] & where[1:])
    ]
    return float(np.sqrt(np.mean(np.concatenate(changes) ** 2)) * 255)
