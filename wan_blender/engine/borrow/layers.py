# SPDX-License-Identifier: GPL-3.0-or-later
"""Where what is seen around the mask lies in a donor, layer by layer.

Points around the mask are found in each donor directly, so nothing adds up from frame to frame;
those found in a nearer frame tell where to look in the next. The largest set that obeys one
homography is the first layer, the largest of what is left the next. They are told apart a few
frames away, where they have come apart and nearly all points are still seen; the same points then
carry them in the donors. What moves in no plane at all follows the dense flow.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from .camera import ENOUGH, apply, find_points, fit_homography, pixel_size, track
from .clip import Clip
from .donors import CameraPath
from .motion import Motion, spread_in

MOST_LAYERS = 3
LAYER_SHARE = 0.08  # of the points, to be a layer of its own
PLANAR_SHARE = 0.75  # of the points in some layer: no need to ask the flow
SCOUTS = (-6, 6, -2, 2)  # frames from here at which layers are told apart
LEAP_PX = 8.0  # a point farther from where it was going is another point
STILL_PX = 0.04  # points whose median moves less are still


@dataclass(frozen=True)
class Aligned:
    """Donor ``index``: ``planes[k]`` is layer k's homography from the frame to it, or None.
    ``loose`` holds points (N, 2) and where they were found, when no layer explains them all."""

    index: int
    planes: list[np.ndarray | None]
    loose: tuple[np.ndarray, np.ndarray] | None


@dataclass
class Neighbourhood:
    """Points (N, 2) around the mask of frame ``index``; where each was ``moved`` to in other frames
    and whether it was ``found`` there; ``labels`` (N,) is its layer, -1 for none."""

    index: int
    points: np.ndarray
    labels: np.ndarray
    moved: dict[int, np.ndarray] = field(default_factory=dict)
    found: dict[int, np.ndarray] = field(default_factory=dict)


def align(
    clip: Clip, path: CameraPath, index: int, donors: list[int], take: tuple[int, int], box
) -> list[Aligned]:
    """Each of ``donors`` with its layers. ``take`` are the first frame that may be looked at and
    the one after the last, ``box`` the mask's in plate pixels."""
    points = _points_around(clip, index, box)
    near = Neighbourhood(index, points, np.full(len(points), -1))
    scouts = [index + away for away in SCOUTS if take[0] <= index + away < take[1]]
    _find(clip, path, near, sorted({*scouts, *donors}, key=lambda frame: abs(frame - index)))
    pixel = pixel_size(clip)
    for frame in [*scouts, *sorted(donors, key=lambda d: abs(d - index))]:
        _tell_apart(near, frame, pixel)
    loose = any(_unexplained(near, frame, pixel) > 1 - PLANAR_SHARE for frame in scouts[:2])
    aligned = []
    for donor in donors:
        good = near.found[donor]
        layers = [good & (near.labels == k) for k in range(near.labels.max(initial=-1) + 1)]
        layers = layers[:1] if loose else layers  # the others would be patches of one bent thing
        planes = [fit_layer(points, near.moved[donor], own, pixel) for own in layers]
        planes = [
            _settle(plane, points[own], near.moved[donor][own])
            for plane, own in zip(planes, layers)
        ]
        if all(plane is None for plane in planes):
            planes = [path.between(index, donor), *planes[1:]]
        free = (points[good], near.moved[donor][good]) if loose else None
        aligned.append(Aligned(donor, planes, free))
    return aligned


def _points_around(clip: Clip, index: int, box: tuple[int, int, int, int]) -> np.ndarray:
    x0, y0, x1, y1 = box
    reach = max(x1 - x0, y1 - y0, clip.width // 5)
    near = (
        max(0, x0 - reach),
        max(0, y0 - reach),
        min(clip.width, x1 + reach),
        min(clip.height, y1 + reach),
    )
    points = find_points(clip, index, near, 300)
    return points if len(points) >= 60 else find_points(clip, index)


def _find(clip: Clip, path: CameraPath, near: Neighbourhood, frames: list[int]) -> None:
    """Find the points in ``frames``, the nearest first; their motion beyond the camera's is taken
    to go on as it was."""
    speed = np.zeros_like(near.points)
    known = np.zeros(len(near.points), bool)
    for frame in frames:
        camera = path.between(near.index, frame)
        away = frame - near.index
        still = apply(camera, near.points)
        guess = still + speed * away
        moved, good = track(clip, near.index, frame, near.points, camera, guess)
        leap = np.hypot(*(moved - guess).T) > LEAP_PX * pixel_size(clip)
        good &= ~(leap & (known | (abs(away) > 8)))
        speed[good] = (moved - still)[good] / away
        known |= good
        near.moved[frame], near.found[frame] = moved, good


def _tell_apart(near: Neighbourhood, frame: int, pixel: float) -> None:
    """Give labels to points that have none, in the layers there are and, where enough are left, in
    new ones; take them from points that have come apart from their layer."""
    old, new, good = near.points, near.moved[frame], near.found[frame]
    labels = near.labels
    count = labels.max(initial=-1) + 1
    for layer in range(count):
        plane = fit_layer(old, new, good & (labels == layer), pixel)
        if plane is not None:
            error = np.hypot(*(apply(plane, old) - new).T)
            labels[good & (labels == layer) & (error > 2 * pixel)] = -1
            labels[good & (labels < 0) & (error < pixel)] = layer
    while count < MOST_LAYERS:
        free = good & (labels < 0)
        needed = max(ENOUGH, LAYER_SHARE * good.sum())
        fitted = fit_homography(old[free], new[free], pixel) if free.sum() >= needed else None
        if fitted is None or fitted[1].sum() < needed:
            break
        labels[np.flatnonzero(free)[fitted[1]]] = count
        count += 1


def _unexplained(near: Neighbourhood, frame: int, pixel: float) -> float:
    """Share of the points found in ``frame`` that none of the layers leads to."""
    good = near.found[frame]
    if good.sum() < ENOUGH:
        return 0.0
    least = np.full(len(near.points), np.inf)
    for layer in range(near.labels.max(initial=-1) + 1):
        plane = fit_layer(near.points, near.moved[frame], good & (near.labels == layer), pixel)
        if plane is not None:
            error = np.hypot(*(apply(plane, near.points) - near.moved[frame]).T)
            least = np.minimum(least, error)
    return float((least[good] > 1.5 * pixel).mean())


def follow_loose(
    clip: Clip, motion: Motion, grid: np.ndarray, index: int, donor: Aligned
) -> np.ndarray:
    """Positions in the donor of ``grid`` (h, w, 2): they follow the dense flow, then move by what
    it missed the points by, spread in between them."""
    there = follow(motion, grid, index, donor.index)
    points, moved = donor.loose
    height, width = there.shape[:2]
    at = clip.look.to(points) - clip.look.to(grid[0, 0])
    x, y = np.rint(at).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    if inside.sum() < ENOUGH:
        return there
    x, y = x[inside], y[inside]
    missed = np.zeros_like(there)
    weight = np.zeros(there.shape[:2], np.float32)
    missed[y, x] = moved[inside] - there[y, x]
    weight[y, x] = np.hypot(*missed[y, x].T) < LEAP_PX * pixel_size(clip)
    return there + spread_in(missed, weight)


def follow(motion: Motion, points: np.ndarray, start: int, end: int) -> np.ndarray:
    """Positions of ``points`` (..., 2) after following the dense flow from frame to frame."""
    step = 1 if end > start else -1
    for at in range(start, end, step):
        points = motion.step(points, at, at + step)
    return points


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


def _settle(matrix: np.ndarray | None, old, new) -> np.ndarray | None:
    """The identity for points that do not move: pixels are copied then, not resampled."""
    if matrix is None or not len(old):
        return matrix
    apart = new - old
    still = np.abs(np.median(apart, 0)).max() < STILL_PX
    return np.eye(3) if still and np.quantile(np.abs(apart), 0.8) < 5 * STILL_PX else matrix
