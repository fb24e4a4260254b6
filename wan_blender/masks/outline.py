# SPDX-License-Identifier: GPL-3.0-or-later
"""Outlines of mattes: closed Bezier splines, as Blender's masks have them.

A spline is an array (n, 3, 2): of each point its left handle, the point and its right handle, in
pixels (x, y) of the picture, y down.
"""

from __future__ import annotations

import numpy as np

Spline = np.ndarray  # (n, 3, 2)
KAPPA = 4 / 3 * (np.sqrt(2) - 1)  # handle of a quarter circle of radius 1
SHARP = np.cos(np.radians(40))  # between two sides; below this cosine their point is a corner
STEPS = 12  # straight pieces of one segment when a spline is drawn


def polygon(corners: np.ndarray) -> np.ndarray:
    """The spline with straight sides through ``corners`` (n, 2)."""
    corners = np.asarray(corners, float)
    before, after = np.roll(corners, 1, 0), np.roll(corners, -1, 0)
    thirds = corners + (before - corners) / 3, corners, corners + (after - corners) / 3
    return np.stack(thirds, 1)


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return polygon(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]))


def ellipse(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """The ellipse in a box, of four points."""
    centre, radius = np.array([x0 + x1, y0 + y1]) / 2, np.array([x1 - x0, y1 - y0]) / 2
    points = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)], float)
    ahead = KAPPA * np.roll(points, -1, 0)
    spline = np.stack([points - ahead, points, points + ahead], 1)
    return centre + radius * spline


def smooth(contour: np.ndarray, most: int = 40, tolerance: float = 1.0) -> np.ndarray:
    """A spline of at most ``most`` points through ``contour`` (n, 2), a dense closed line: curved,
    with corners where the line has them. It stays within about ``tolerance`` px where ``most``
    points suffice."""
    contour = np.asarray(contour, float)
    kept = simplify(contour, tolerance)
    while len(kept) > most:
        tolerance *= 1.3
        kept = simplify(contour, tolerance)
    return curved(kept)


def simplify(contour: np.ndarray, tolerance: float) -> np.ndarray:
    """The points of a closed line (n, 2) that a line within ``tolerance`` px needs, three at least
    where there are as many (Ramer 1972, Douglas and Peucker 1973)."""
    count = len(contour)
    if count <= 3:
        return contour
    far = int(np.argmax(np.linalg.norm(contour - contour[0], axis=1)))
    closed = np.concatenate([contour, contour[:1]])
    keep = np.zeros(count + 1, bool)
    keep[[0, far, count]] = True
    left = [(0, far), (far, count)]
    while left:
        first, last = left.pop()
        if last - first < 2:
            continue
        away = _distances(closed[first + 1 : last], closed[first], closed[last])
        worst = int(np.argmax(away))
        if away[worst] > tolerance:
            middle = first + 1 + worst
            keep[middle] = True
            left += [(first, middle), (middle, last)]
    kept = np.flatnonzero(keep[:-1])
    return contour[kept] if len(kept) >= 3 else contour[:: max(1, count // 3)][:3]


def _distances(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of points (n, 2) from the stretch a to b."""
    side = b - a
    length = float(side @ side)
    along = np.clip((points - a) @ side / length, 0, 1) if length > 0 else np.zeros(len(points))
    return np.linalg.norm(points - a - along[:, None] * side, axis=1)


def curved(points: np.ndarray) -> Spline:
    """The spline through ``points`` (n, 2): handles along the chord of the neighbours, a third of
    each side long; corners keep their straight sides."""
    spline = polygon(points)
    before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
    lengths = [np.linalg.norm(side, axis=1, keepdims=True) for side in (before, after)]
    chord = before + after
    size = np.linalg.norm(chord, axis=1, keepdims=True)
    turn = (before * after).sum(1, keepdims=True) / np.maximum(lengths[0] * lengths[1], 1e-9)
    is_curved = ((turn > SHARP) & (size > 1e-9))[:, 0]
    along = chord / np.maximum(size, 1e-9) / 3
    spline[is_curved, 0] = (points - along * lengths[0])[is_curved]
    spline[is_curved, 2] = (points + along * lengths[1])[is_curved]
    return spline


def match(spline: Spline, like: Spline) -> Spline:
    """The outline ``spline`` with as many points as ``like``, each where the one of ``like`` would
    be: at the same share of the way around, from the start and in the direction that move the
    points least, a common shift apart."""
    line, wanted = flatten(spline, 16), like[:, 1]
    shares = _shares(wanted)
    best, found = np.inf, wanted
    target = wanted - wanted.mean(0)
    for way in (line, line[::-1]):
        along = _shares(way)
        closed = np.concatenate([way, way[:1]])
        for start in np.linspace(0, 1, 96, endpoint=False):
            at = (shares + start) % 1
            places = [np.interp(at, [*along, 1.0], closed[:, axis]) for axis in (0, 1)]
            points = np.stack(places, 1)
            cost = float(((points - points.mean(0) - target) ** 2).sum())
            if cost < best:
                best, found = cost, points
    return curved(found)


def _shares(line: np.ndarray) -> np.ndarray:
    """How much of the way around a closed line (n, 2) lies before each of its points, 0..1."""
    sides = np.linalg.norm(np.roll(line, -1, 0) - line, axis=1)
    return np.concatenate([[0.0], np.cumsum(sides)[:-1]]) / max(float(sides.sum()), 1e-9)


def is_corner(spline: np.ndarray) -> np.ndarray:
    """(n,) of bool: points whose handles do not lie on one line with them."""
    left, right = spline[:, 0] - spline[:, 1], spline[:, 2] - spline[:, 1]
    size = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return (left * right).sum(1) > -0.999 * np.maximum(size, 1e-9)


def flatten(spline: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """The line (n * steps, 2) that a spline draws."""
    t = np.arange(steps)[:, None, None] / steps
    start, end = spline, np.roll(spline, -1, 0)
    line = (
        (1 - t) ** 3 * start[:, 1]
        + 3 * (1 - t) ** 2 * t * start[:, 2]
        + 3 * (1 - t) * t**2 * end[:, 0]
        + t**3 * end[:, 1]
    )
    return line.transpose(1, 0, 2).reshape(-1, 2)


def to_mask(spline: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """From pixels of a picture of ``size`` (width, height) to coordinates of a Blender mask: a
    square as wide as the longer side around the picture's middle, 0 to 1, y up."""
    width, height = size
    longer = max(size)
    middle = np.array([width / 2, height / 2])
    return 0.5 + (np.asarray(spline) - middle) * (1, -1) / longer


def from_mask(spline: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The inverse of ``to_mask``."""
    width, height = size
    middle = np.array([width / 2, height / 2])
    return middle + (np.asarray(spline) - 0.5) * (1, -1) * max(size)
