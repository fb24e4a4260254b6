# SPDX-License-Identifier: GPL-3.0-or-later
"""What a click on a picture means, without any weights: GrabCut (Rother, Kolmogorov and Blake 2004;
cv2.grabCut) from strokes on what belongs to the thing and on what does not.

A lone click says little, so what may be the thing is guessed first: what is joined to the strokes
and of like colour in the picture with its texture smoothed away.
"""

from __future__ import annotations

import cv2
import numpy as np

from ...core.errors import EmptyMask
from ...masks.outline import Spline, smooth

WORK_PX = 512  # longest side that is segmented; outlines are finer than its pixels
STROKE_PX = 4  # half the width of a stroke, at that size
ROUNDS = 6
LIKE = 14.0  # colour levels of a step between neighbours that are one surface
SMALLEST_SHARE = 0.02  # of the largest part, for another part to be kept
MOST_POINTS = 40
TOLERANCE_PX = 1.2
Stroke = np.ndarray  # (n, 2) pixels


def segment(picture: np.ndarray, keep: list[Stroke], leave: list[Stroke]) -> np.ndarray:
    """(H, W) bool: the thing under the strokes ``keep`` in a picture (H, W, 3) uint8, without what
    lies under ``leave``. Raises EmptyMask where no stroke touches the picture."""
    height, width = picture.shape[:2]
    scale = min(1.0, WORK_PX / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    on, off = _strokes(keep, scale, size), _strokes(leave, scale, size)
    if not on.any():
        raise EmptyMask("No stroke touches the picture.", "Click on the thing in the picture.")
    inside = _cut(small, on, off)
    whole = cv2.resize(inside.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return whole > 0.5


def _strokes(strokes: list[Stroke], scale: float, size: tuple[int, int]) -> np.ndarray:
    drawn = np.zeros((size[1], size[0]), np.uint8)
    for stroke in strokes:
        points = np.rint(np.asarray(stroke) * scale - 0.5).astype(np.int32)
        cv2.polylines(drawn, [points.reshape(-1, 1, 2)], False, 1, 2 * STROKE_PX)
        for point in points[[0, -1]]:
            cv2.circle(drawn, point.tolist(), STROKE_PX, 1, -1)
    return drawn.astype(bool)


def _cut(small: np.ndarray, on: np.ndarray, off: np.ndarray) -> np.ndarray:
    guess = _joined(small, on)
    labels = np.where(guess, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[on], labels[off] = cv2.GC_FGD, cv2.GC_BGD
    if not ((labels == cv2.GC_BGD) | (labels == cv2.GC_PR_BGD)).any():
        return on | guess
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # its colour models start at random
    cv2.grabCut(small, labels, None, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return _whole_parts(found, on)


def _joined(small: np.ndarray, on: np.ndarray) -> np.ndarray:
    """What is joined to the strokes over small steps of colour."""
    flat = cv2.pyrMeanShiftFiltering(small, 10, 22)
    reached = np.zeros((small.shape[0] + 2, small.shape[1] + 2), np.uint8)
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    step = (LIKE,) * 3
    for y, x in np.argwhere(on)[:: max(1, int(on.sum()) // 60)]:
        if not reached[y + 1, x + 1]:
            cv2.floodFill(flat, reached, (int(x), int(y)), 0, step, step, flags)
    return (reached[1:-1, 1:-1] > 0) | on


def _whole_parts(found: np.ndarray, on: np.ndarray) -> np.ndarray:
    """The parts that a stroke touches, without holes smaller than a stroke."""
    _, parts = cv2.connectedComponents(found.astype(np.uint8))
    touched = np.unique(parts[on & found])
    kept = np.isin(parts, touched[touched > 0]).astype(np.uint8)
    side = 2 * STROKE_PX + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return cv2.morphologyEx(kept, cv2.MORPH_CLOSE, kernel).astype(bool)


def outline_of(inside: np.ndarray) -> list[Spline]:
    """The outlines of a matte (H, W) bool, the largest first; holes and specks are left out. Raises
    EmptyMask where it holds nothing."""
    padded = np.pad(inside.astype(np.uint8), 1)
    contours, _ = cv2.findContours(padded, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = [cv2.contourArea(contour) for contour in contours]
    if not areas or max(areas) < 4:
        raise EmptyMask("Nothing was found under the click.", "Draw over more of the thing.")
    order = sorted(range(len(areas)), key=lambda index: -areas[index])
    large = [index for index in order if areas[index] >= SMALLEST_SHARE * max(areas)]
    return [smooth(_middle_line(contours[index]), MOST_POINTS, TOLERANCE_PX) for index in large]


def _middle_line(contour: np.ndarray) -> np.ndarray:
    """A contour through pixels' middles, moved out to their edges and its stairs rounded."""
    line = contour.reshape(-1, 2).astype(float) - 1 + 0.5
    kernel = np.array([1, 2, 3, 2, 1]) / 9
    if len(line) > 12:
        padded = np.concatenate([line[-2:], line, line[:2]])
        line = np.stack([np.convolve(padded[:, axis], kernel, "valid") for axis in (0, 1)], 1)
    tangent = np.roll(line, -1, 0) - np.roll(line, 1, 0)
    outward = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    # OpenCV's outer contours run so that this normal points out of the thing.
    return line + 0.5 * outward
