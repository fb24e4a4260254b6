# SPDX-License-Identifier: GPL-3.0-or-later
"""Where what is seen around the mask lies in a donor, layer by layer.

Points around the mask are found in each donor directly, so nothing adds up from frame to frame.
The largest set that obeys one homography is the first layer, the largest of what is left the next.
Layers are told apart in the farthest donor that shows enough, where they have come apart most; the
same points then carry them in the others. What moves in no plane at all follows the dense flow.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from .camera import ENOUGH, apply, find_points, fit_homography, hidden_at, pixel_size, track
from .clip import Clip
from .donors import Path
from .motion import Motion

MOST_LAYERS = 3
LAYER_SHARE = 0.08  # of the points, to be a layer of its own
PLANAR_SHARE = 0.85  # of the points in the first layer: no need to ask the flow
STILL_PX = 0.04  # a homography that moves nothing farther is the identity: pixels are copied


@dataclass(frozen=True)
class Aligned:
    """Donor ``index``: ``planes[k]`` is layer k's homography from the frame to it, or None."""

    index: int
    planes: list[np.ndarray | None]


@dataclass
class Neighbourhood:
    """Points (N, 2) around the mask of frame ``index`` and what is known of them in each donor."""

    index: int
    points: np.ndarray
    moved: dict[int, np.ndarray] = field(default_factory=dict)
    found: dict[int, np.ndarray] = field(default_factory=dict)


def align(
    clip: Clip,
    path: Path,
    motion: Motion,
    index: int,
    donors: list[int],
    box: tuple[int, int, int, int],
) -> tuple[list[Aligned], bool]:
    """Each donor with its layers, and whether points are left that no layer explains. ``box`` is
    the mask's, in plate pixels."""
    near = Neighbourhood(index, _points_around(clip, index, box))
    for donor in donors:
        _find_in_donor(clip, path, motion, near, donor)
    planes, labels = split(near, donors, pixel_size(clip))
    seen = np.any([near.found[d] for d in donors], 0) if donors else np.zeros(0, bool)
    loose = bool(seen.sum() >= ENOUGH and (labels[seen] < 0).mean() > 1 - PLANAR_SHARE)
    corners = np.float32([[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]])
    aligned = []
    for donor in donors:
        own = [_settle(plane, corners) for plane in planes[donor]]
        if all(plane is None for plane in own):
            own = [path.between(index, donor), *own[1:]]
        aligned.append(Aligned(donor, own))
    return aligned, loose


def _points_around(clip: Clip, index: int, box: tuple[int, int, int, int]) -> np.ndarray:
    x0, y0, x1, y1 = box
    reach = max(x1 - x0, y1 - y0, clip.width // 5)
    near = (
        max(0, x0 - reach),
        max(0, y0 - reach),
        min(clip.width, x1 + reach),
        min(clip.height, y1 + reach),
    )
    points = find_points(clip, index, near, 400)
    return points if len(points) >= 60 else find_points(clip, index)


def _find_in_donor(clip: Clip, path: Path, motion: Motion, near: Neighbourhood, donor: int) -> None:
    guess = apply(path.between(near.index, donor), near.points)
    moved, good = track(clip, near.index, donor, near.points, guess)
    expected = ~hidden_at(clip, donor, guess)
    obey = good & (np.hypot(*(moved - guess).T) < 3 * pixel_size(clip))
    if obey.sum() < PLANAR_SHARE * expected.sum():
        followed = follow(motion, near.points, near.index, donor)
        again, found = track(clip, near.index, donor, near.points, followed)
        fresh = found & ~good
        moved = np.where(fresh[:, None], again, moved)
        good = good | fresh
    near.moved[donor], near.found[donor] = moved, good


def follow(motion: Motion, points: np.ndarray, start: int, end: int) -> np.ndarray:
    """Positions of ``points`` after following the dense flow from frame to frame."""
    step = 1 if end > start else -1
    for at in range(start, end, step):
        points = motion.step(points, at, at + step)
    return points


def split(near: Neighbourhood, donors: list[int], pixel: float):
    """``planes[donor]`` = a homography or None per layer, and the layer (N,) of each point, -1 for
    none."""
    labels = np.full(len(near.points), -1)
    planes: dict[int, list[np.ndarray | None]] = {}
    count = 0
    for donor in sorted(donors, key=lambda d: -abs(d - near.index)):
        old, new, good = near.points, near.moved[donor], near.found[donor]
        own: list[np.ndarray | None] = []
        for layer in range(count):
            own.append(fit_layer(old, new, good & (labels == layer), pixel))
            if own[-1] is not None:
                free = good & (labels < 0)
                labels[free & _obeys(own[-1], old, new, pixel)] = layer
        while count < MOST_LAYERS:
            free = good & (labels < 0)
            needed = max(ENOUGH, LAYER_SHARE * good.sum())
            fitted = fit_homography(old[free], new[free], pixel) if free.sum() >= needed else None
            if fitted is None or fitted[1].sum() < needed:
                break
            labels[np.flatnonzero(free)[fitted[1]]] = count
            own.append(fit_layer(old, new, good & (labels == count), pixel))
            count += 1
        planes[donor] = own
    for own in planes.values():
        own += [None] * (count - len(own))
    return planes, labels


def fit_layer(old, new, chosen, pixel: float) -> np.ndarray | None:
    """3x3 from the ``chosen`` points: a homography from many, an affine map from few."""
    old, new = old[chosen], new[chosen]
    if len(old) >= 3 * ENOUGH:
        fitted = fit_homography(old, new, pixel)
        return None if fitted is None else fitted[0]
    if len(old) < ENOUGH // 2:
        return None
    matrix, inliers = cv2.estimateAffine2D(
        old, new, method=cv2.RANSAC, ransacReprojThreshold=pixel, refineIters=20
    )
    if matrix is None or inliers.sum() < ENOUGH // 2:
        return None
    return np.vstack([matrix, [0, 0, 1]])


def _obeys(matrix: np.ndarray, old, new, pixel: float) -> np.ndarray:
    return np.hypot(*(apply(matrix, old) - new).T) < pixel


def _settle(matrix: np.ndarray | None, corners: np.ndarray) -> np.ndarray | None:
    """The identity for what moves the ``corners`` less than can be measured."""
    if matrix is not None and np.abs(apply(matrix, corners) - corners).max() < STILL_PX:
        return np.eye(3)
    return matrix
