# SPDX-License-Identifier: GPL-3.0-or-later
"""How the camera moved: points that are found again, and the homography that most of them obey.

Points are Shi-Tomasi corners (cv2.goodFeaturesToTrack) outside the mask, found again by pyramidal
Lucas-Kanade and kept when tracking back ends where it began. The homography is fitted by MAGSAC, so
things that move by themselves are outvoted.
"""

from __future__ import annotations

import cv2
import numpy as np

from .clip import Clip, Scaled

POINTS = 400
LEVELS = 4  # of the pyramid: finds what moved 80 of its pixels
CLOSED_LOOP = 0.5  # pixels: tracking there and back must end this near
ENOUGH = 12  # points that carry a homography
INLIER_PX = 1.0
SIMPLE_SHARE = 0.75
_LK = {"winSize": (17, 17), "criteria": (3, 20, 0.01), "minEigThreshold": 1e-4}


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Positions (..., 2) float32 through a 3x3 homography."""
    if points.size == 0:
        return points
    flat = np.ascontiguousarray(points, np.float32).reshape(-1, 1, 2)
    return cv2.perspectiveTransform(flat, matrix).reshape(points.shape)


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


def track(
    clip: Clip,
    start: int,
    end: int,
    points: np.ndarray,
    camera: np.ndarray | None = None,
    guess: np.ndarray | None = None,
):
    """Where ``points`` (N, 2) of frame ``start`` are in frame ``end``, and which were found (N,)
    bool. ``camera`` is the homography between the frames as far as it is known: the second is
    turned to the first by it, so that turns and zooms do not hide what is the same. ``guess``
    (N, 2) is where to begin looking in frame ``end``."""
    if len(points) == 0:
        return points, np.zeros(0, bool)
    one, two = clip.gray(start), clip.gray(end)
    camera = np.eye(3) if camera is None else camera
    if guess is None:
        guess = apply(camera, points)
    if not np.array_equal(camera, np.eye(3)):
        two = turn(two, clip.track, camera)
    old = clip.track.to(points).astype(np.float32)
    new = clip.track.to(apply(np.linalg.inv(camera), guess)).astype(np.float32)
    flags = cv2.OPTFLOW_USE_INITIAL_FLOW
    new, there, _ = cv2.calcOpticalFlowPyrLK(
        one, two, old[:, None], new[:, None].copy(), maxLevel=LEVELS, flags=flags, **_LK
    )
    again, back, _ = cv2.calcOpticalFlowPyrLK(
        two, one, new, old[:, None].copy(), maxLevel=0, flags=flags, **_LK
    )
    new = new[:, 0]
    closed = np.abs(again[:, 0] - old).max(1) < CLOSED_LOOP
    good = (there[:, 0] == 1) & (back[:, 0] == 1) & closed
    moved = apply(camera, clip.track.back(new))
    return moved, good & ~hidden_at(clip, end, moved)


def turn(picture: np.ndarray, scaled: Scaled, matrix: np.ndarray, method=cv2.INTER_LINEAR):
    """``picture`` at the size of ``scaled``, seen from the frame that ``matrix`` (3x3, plate
    positions) leads here from."""
    inner = scaled.matrix @ matrix @ np.linalg.inv(scaled.matrix)
    flags = method | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(picture, inner, (scaled.width, scaled.height), flags=flags)


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
    one. ``pixel`` is the size in plate pixels of those that the points were measured in.

    A homography has enough freedom to bend two planes into one, so the points are those that obey
    a shift, turn and scale where these are nearly as many.
    """
    if len(old) < ENOUGH:
        return None
    most = INLIER_PX * pixel
    _, simple = cv2.estimateAffinePartial2D(
        old, new, method=cv2.RANSAC, ransacReprojThreshold=most, maxIters=500
    )
    _, free = cv2.findHomography(old, new, cv2.USAC_MAGSAC, most, maxIters=1000, confidence=0.999)
    counts = [0 if found is None else int(found.sum()) for found in (simple, free)]
    if max(counts) < ENOUGH:
        return None
    chosen = (simple if counts[0] >= SIMPLE_SHARE * counts[1] else free)[:, 0] > 0
    for _ in range(2):
        matrix, _ = cv2.findHomography(old[chosen], new[chosen], 0)
        if matrix is None:
            return None
        error = np.hypot(*(apply(matrix, old) - new).T)
        better = error < most
        if better.sum() < ENOUGH:
            return None
        chosen = better
    return matrix, chosen


def pixel_size(clip: Clip) -> float:
    """Plate pixels per pixel of the pictures that points are tracked in."""
    return 1 / min(clip.track.x_scale, clip.track.y_scale)


def follow_camera(clip: Clip, start: int, end: int) -> tuple[np.ndarray | None, float]:
    """(3x3 from frame ``start`` to frame ``end`` or None, share of the points that obey it)."""
    points = find_points(clip, start)
    moved, good = track(clip, start, end, points)
    if good.sum() < 0.3 * len(points):  # fast or blurred: again from a guess
        shift = phase_shift(clip, start, end)
        moved, good = track(clip, start, end, points, guess=points + shift)
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
