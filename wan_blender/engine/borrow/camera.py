# SPDX-License-Identifier: GPL-3.0-or-later
"""How the camera moved: points that are found again, and the homography that most of them obey.

Points are Shi-Tomasi corners (cv2.goodFeaturesToTrack) outside the mask, found again by pyramidal
Lucas-Kanade and kept when tracking back ends where it began. The homography is fitted by MAGSAC, so
things that move by themselves are outvoted.
"""

from __future__ import annotations

import cv2
import numpy as np

from .clip import Clip

POINTS = 600
CLOSED_LOOP = 0.5  # pixels: tracking there and back must end this near
ENOUGH = 12  # points that carry a homography
INLIER_PX = 1.0
_LK = {"winSize": (21, 21), "criteria": (3, 30, 0.005), "minEigThreshold": 1e-4}


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Positions (..., 2) through a 3x3 homography."""
    x, y = points[..., 0].astype(np.float64), points[..., 1].astype(np.float64)
    down = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
    down = np.where(np.abs(down) < 1e-9, 1e-9, down)
    moved = [(row[0] * x + row[1] * y + row[2]) / down for row in matrix[:2]]
    return np.stack(moved, -1).astype(np.float32)


def find_points(clip: Clip, index: int, box=None, most: int = POINTS) -> np.ndarray:
    """Plate positions (N, 2) of corners outside the mask, in ``box`` (x0, y0, x1, y1) if given."""
    gray = clip.gray(index)
    seen = (~clip.track.shrink_mask(clip.mask(index))).astype(np.uint8)
    seen = cv2.erode(seen, np.ones((7, 7), np.uint8))
    x0, y0, x1, y1 = clip.track.box(box) if box else (0, 0, gray.shape[1], gray.shape[0])
    part, seen = gray[y0:y1, x0:x1], seen[y0:y1, x0:x1]
    if min(part.shape) < 8 or not seen.any():
        return np.zeros((0, 2), np.float32)
    apart = max(4.0, np.sqrt(part.size / (2.0 * most)))
    found = cv2.goodFeaturesToTrack(part, most, 0.01, apart, mask=seen)
    if found is None:
        return np.zeros((0, 2), np.float32)
    return clip.track.back(found[:, 0] + np.float32([x0, y0]))


def track(clip: Clip, start: int, end: int, points: np.ndarray, guess: np.ndarray | None = None):
    """Where ``points`` (N, 2) of frame ``start`` are in frame ``end``, and which were found (N,)
    bool. ``guess`` (N, 2) is where to begin looking."""
    if len(points) == 0:
        return points, np.zeros(0, bool)
    one, two = clip.gray(start), clip.gray(end)
    old = clip.track.to(points).astype(np.float32)
    new = clip.track.to(points if guess is None else guess).astype(np.float32)
    flags = cv2.OPTFLOW_USE_INITIAL_FLOW
    levels = 4 if guess is None else 2
    new, there, _ = cv2.calcOpticalFlowPyrLK(
        one, two, old[:, None], new[:, None].copy(), maxLevel=levels, flags=flags, **_LK
    )
    again, back, _ = cv2.calcOpticalFlowPyrLK(
        two, one, new, old[:, None].copy(), maxLevel=levels, flags=flags, **_LK
    )
    new = new[:, 0]
    closed = np.abs(again[:, 0] - old).max(1) < CLOSED_LOOP
    inside = ((new >= 0) & (new <= (two.shape[1] - 1, two.shape[0] - 1))).all(1)
    good = (there[:, 0] == 1) & (back[:, 0] == 1) & closed & inside
    moved = clip.track.back(new)
    return moved, good & ~hidden_at(clip, end, moved)


def hidden_at(clip: Clip, index: int, points: np.ndarray) -> np.ndarray:
    """Whether positions (..., 2) of frame ``index`` are under its mask or outside the picture."""
    mask = clip.hidden(index)
    at = clip.map.to(points)
    x, y = np.rint(at[..., 0]).astype(int), np.rint(at[..., 1]).astype(int)
    inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
    hidden = mask[np.clip(y, 0, mask.shape[0] - 1), np.clip(x, 0, mask.shape[1] - 1)]
    return hidden | ~inside


def fit_homography(old: np.ndarray, new: np.ndarray, pixel: float = 1.0):
    """(3x3, inliers (N,) bool) for positions in plate pixels, or None where the points do not carry
    one. ``pixel`` is the size in plate pixels of those that the points were measured in."""
    if len(old) < ENOUGH:
        return None
    matrix, inliers = cv2.findHomography(
        old, new, cv2.USAC_MAGSAC, INLIER_PX * pixel, maxIters=2000, confidence=0.999
    )
    if matrix is None or inliers.sum() < ENOUGH:
        return None
    inliers = inliers[:, 0] > 0
    better, _ = cv2.findHomography(old[inliers], new[inliers], 0)
    matrix = matrix if better is None else better
    return matrix, np.hypot(*(apply(matrix, old) - new).T) < INLIER_PX * pixel


def pixel_size(clip: Clip) -> float:
    """Plate pixels per pixel of the pictures that points are tracked in."""
    return 1 / min(clip.track.x_scale, clip.track.y_scale)


def follow_camera(clip: Clip, start: int, end: int) -> tuple[np.ndarray | None, float]:
    """(3x3 from frame ``start`` to frame ``end`` or None, share of the points that obey it)."""
    points = find_points(clip, start)
    moved, good = track(clip, start, end, points)
    if good.sum() < 0.3 * len(points):  # fast or blurred: again from a guess
        shift = phase_shift(clip, start, end)
        moved, good = track(clip, start, end, points, points + shift)
    fitted = fit_homography(points[good], moved[good], pixel_size(clip))
    if fitted is None:
        return None, 0.0
    matrix, inliers = fitted
    return (matrix if sane(matrix, clip) else None), float(inliers.sum() / max(1, len(points)))


def phase_shift(clip: Clip, start: int, end: int) -> np.ndarray:
    """Shift (2,) in plate pixels by phase correlation."""
    one, two = (clip.gray(i).astype(np.float32) for i in (start, end))
    window = cv2.createHanningWindow(one.shape[::-1], cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(one, two, window)
    return np.float32([x / clip.track.x_scale, y / clip.track.y_scale])


def sane(matrix: np.ndarray, clip: Clip) -> bool:
    """Whether the picture's corners stay corners of something like a picture."""
    w, h = clip.width, clip.height
    corners = np.float32([[0, 0], [w, 0], [w, h], [0, h]])
    moved = apply(matrix, corners)
    area = cv2.contourArea(moved)
    return bool(cv2.isContourConvex(moved) and 0.2 < area / (w * h) < 5)
