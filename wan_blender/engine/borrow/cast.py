# SPDX-License-Identifier: GPL-3.0-or-later
"""What the masked object casts: a grown matte to propose.

A shadow or reflection is where the plate differs from the clean plate near the mask. The clean
plate is what borrowing shows when the mask is grown to ``searched`` first; pixels of that growth
which differ by more than grain and hang together with the mask belong to the object.
"""

from __future__ import annotations

import cv2
import numpy as np

from .notes import SURE

SMOOTH_PX = 2.0  # shadows are smooth: grain and small misalignment are averaged out
TIMES = 4.0  # the usual difference of what is not cast
LEAST = 4 / 255  # smaller differences are not seen


def searched(mask: np.ndarray, reach_px: int) -> np.ndarray:
    """``mask`` (H, W) in 0..1 grown by ``reach_px``: where something cast is looked for, and what
    is to be borrowed to find it."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach_px + 1,) * 2)
    return cv2.dilate((mask > 0).astype(np.float32), kernel)


def propose_matte(
    plate: np.ndarray, clean: np.ndarray, confidence: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """``mask`` (H, W) in 0..1 with what it casts at 1; equal to it where nothing is found.

    ``plate`` and ``clean`` are (H, W, C) in one integer type or float in 0..1; ``clean`` and
    ``confidence`` (H, W) are what was borrowed for the ``searched`` mask.
    """
    whole = np.issubdtype(plate.dtype, np.integer)
    peak = np.iinfo(plate.dtype).max if whole else 1.0
    one, two = (p[..., :3].astype(np.float32) / peak for p in (plate, clean))
    difference = np.abs(cv2.GaussianBlur(one - two, (0, 0), SMOOTH_PX)).reshape(*mask.shape, -1)
    difference = difference.max(2)
    beside = (confidence >= SURE) & (mask <= 0)
    if not beside.any():
        return mask
    usual = float(np.median(difference[beside]))
    cast = beside & (difference > max(LEAST, TIMES * usual))
    cast = cv2.morphologyEx(cast.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    together = ((cast > 0) | (mask > 0)).astype(np.uint8)
    together = cv2.morphologyEx(together, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    _, parts = cv2.connectedComponents(together)
    touched = np.unique(parts[mask > 0])
    belongs = np.isin(parts, touched[touched > 0]) & (beside | (mask > 0))
    return np.where(belongs & (mask <= 0), 1, mask).astype(mask.dtype)
