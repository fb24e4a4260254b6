# SPDX-License-Identifier: GPL-3.0-or-later
"""The plane motion of a region: features of the reference frame itself, found in another frame, so
that errors do not add up over a shot.

Features are followed with pyramidal Lucas-Kanade in the picture as the last known motion brings it
back, so only what is new has to be found. What most of them agree on is the motion (RANSAC).
"""

from __future__ import annotations

import cv2
import numpy as np

from .region import Region

WINDOW = (21, 21)
LEVELS = 4
STRAY_PX = 1.0  # of a feature that is followed there and back
INLIER_PX = 1.5
FEWEST = {"similarity": 4, "affine": 10, "homography": 24}
ROUNDS = 2  # the second begins where the first ended
STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01)


def bring_back(picture: np.ndarray, motion: np.ndarray, region: Region) -> np.ndarray:
    """The picture where ``motion`` (3, 3), from the region to the picture, says the region is, in
    the shape of the region."""
    return cv2.warpPerspective(
        picture,
        motion,
        region.size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def align(region: Region, picture: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, float]:
    """(motion, share of the features that agree with it); from a ``guess`` of the motion. The share
    is 0, and the motion the guess, where too few are found."""
    motion, share = guess, 0.0
    for _ in range(ROUNDS):
        change, agreed = _change(region, bring_back(picture, motion, region))
        if change is None:
            return guess, 0.0
        motion, share = motion @ change, agreed
        motion = motion / motion[2, 2]
    return motion, share


def _change(region: Region, seen: np.ndarray) -> tuple[np.ndarray | None, float]:
    points = region.features
    if len(points) < FEWEST["similarity"]:
        return None, 0.0
    follow = {"winSize": WINDOW, "maxLevel": LEVELS, "criteria": STOP}
    there, ok, _ = cv2.calcOpticalFlowPyrLK(region.gray, seen, points, None, **follow)
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(seen, region.gray, there, None, **follow)
    stray = np.linalg.norm(back - points, axis=2).ravel()
    good = (ok.ravel() == 1) & (ok_back.ravel() == 1) & (stray < STRAY_PX)
    return _fit(points[good].reshape(-1, 2), there[good].reshape(-1, 2), len(points))


def _fit(a: np.ndarray, b: np.ndarray, total: int) -> tuple[np.ndarray | None, float]:
    """The motion of most points, as free as their number allows."""
    if len(a) < FEWEST["similarity"]:
        return None, 0.0
    robust = {"method": cv2.RANSAC, "ransacReprojThreshold": INLIER_PX}
    if len(a) >= FEWEST["homography"]:
        matrix, inliers = cv2.findHomography(a, b, cv2.USAC_MAGSAC, INLIER_PX)
    elif len(a) >= FEWEST["affine"]:
        matrix, inliers = cv2.estimateAffine2D(a, b, **robust)
    else:
        matrix, inliers = cv2.estimateAffinePartial2D(a, b, **robust)
    if matrix is None or inliers.sum() < FEWEST["similarity"] or not np.isfinite(matrix).all():
        return None, 0.0
    if len(matrix) == 2:
        matrix = np.vstack([matrix, (0, 0, 1)])
    return (matrix if _is_sane(matrix) else None), float(inliers.sum()) / total


def _is_sane(matrix: np.ndarray) -> bool:
    """Whether it neither mirrors nor halves nor doubles anything: between two frames nothing
    does."""
    area = np.linalg.det(matrix[:2, :2])
    return bool(0.25 < area < 4 and abs(matrix[2, :2]).max() < 0.01)
