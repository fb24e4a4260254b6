# SPDX-License-Identifier: GPL-3.0-or-later
"""Dense motion of the background from frame to frame, also behind the mask, and points that follow.

Optical flow is DIS (cv2.DISOpticalFlow). What it says under the mask is the object's; there the
motion around it, relative to the camera's, is spread in. Following a point adds up motion, never
pixels: what is borrowed in the end is resampled once.
"""

from __future__ import annotations

import cv2
import numpy as np

from .camera import apply, turn
from .clip import Clip, grown_box

MARGIN_PX = 10


def spread_in(field: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``field`` (h, w[, c]) float32 where ``weight`` (h, w) is above 0, and a smooth continuation
    of it elsewhere: push-pull over a pyramid of weighted means."""
    flat = field.reshape(*field.shape[:2], -1).astype(np.float32)
    return _push_pull(flat, weight.astype(np.float32)).reshape(field.shape)


def _push_pull(field: np.ndarray, weight: np.ndarray) -> np.ndarray:
    h, w = weight.shape
    if min(h, w) <= 2 or (weight > 0).all():
        total = weight.sum()
        mean = (field * weight[..., None]).sum((0, 1)) / total if total > 0 else np.float32(0)
        return np.where(weight[..., None] > 0, field, mean).astype(np.float32)
    small = ((w + 1) // 2, (h + 1) // 2)
    kernel = {"sigmaX": 1.0, "borderType": cv2.BORDER_REPLICATE}
    share = cv2.resize(cv2.GaussianBlur(weight, (5, 5), **kernel), small)
    carried = cv2.GaussianBlur(field * weight[..., None], (5, 5), **kernel)
    carried = cv2.resize(carried, small).reshape(small[1], small[0], -1)
    mean = carried / np.maximum(share, 1e-6)[..., None]
    coarse = _push_pull(mean, np.minimum(1, share * 4) * (share > 1e-3))
    coarse = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_LINEAR).reshape(h, w, -1)
    keep = np.clip(weight, 0, 1)[..., None]
    return field * keep + coarse * (1 - keep)


def continue_in(field: np.ndarray, weight: np.ndarray, box) -> np.ndarray:
    """As ``spread_in``, but in ``box`` (x0, y0, x1, y1) around what is missing a cubic surface is
    fitted first and only the rest spread in: motion that grows towards the mask goes on growing."""
    x0, y0, x1, y1 = box
    part, known = field[y0:y1, x0:x1], weight[y0:y1, x0:x1] > 0
    if known.sum() < 200 or known.all():
        return spread_in(field, weight)
    ys, xs = np.mgrid[-1 : 1 : part.shape[0] * 1j, -1 : 1 : part.shape[1] * 1j]
    terms = np.stack([xs**i * ys**j for i in range(4) for j in range(4 - i)], 2)
    where = np.flatnonzero(known)
    where = where[:: max(1, len(where) // 2000)]
    a, b = terms.reshape(-1, terms.shape[2])[where], part.reshape(-1, 2)[where]
    good = np.ones(len(a), bool)
    steady = 1e-3 * len(a) * np.eye(a.shape[1])
    for _ in range(3):
        some = a[good]
        surface = np.linalg.solve(some.T @ some + steady, some.T @ b[good])
        error = np.abs(b - a @ surface).max(1)
        good = error <= max(3 * np.median(error), 0.05)
    smooth = np.zeros_like(field)
    smooth[y0:y1, x0:x1] = terms @ surface
    inside = np.zeros(weight.shape, bool)
    inside[y0:y1, x0:x1] = True
    rest = spread_in(np.where(inside[..., None], field - smooth, 0), weight * inside)
    return np.where(inside[..., None], smooth + rest, spread_in(field, weight))


class Motion:
    """Flow between neighbours, both ways, at the ``look`` size, measured when it is asked for.

    ``cameras[i]`` is the homography from frame i to i + 1, None across a cut."""

    def __init__(self, clip: Clip, cameras: list[np.ndarray | None]) -> None:
        self.clip = clip
        self._cameras = cameras
        self._flows: dict[tuple[int, int], np.ndarray] = {}
        self._dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def camera(self, start: int, end: int) -> np.ndarray:
        """Homography between neighbours, either way."""
        if end > start:
            return self._cameras[start]
        return np.linalg.inv(self._cameras[end])

    def residual(self, start: int, end: int) -> np.ndarray:
        """(h, w, 2) float32, plate pixels: motion from ``start`` to its neighbour ``end`` beyond
        the camera's, filled in under the mask."""
        key = (start, end)
        if key not in self._flows:
            self._flows[key] = self._measure(start, end)
        return self._flows[key]

    def _measure(self, start: int, end: int) -> np.ndarray:
        clip, look = self.clip, self.clip.look
        camera = self.camera(start, end)
        one = look.shrink(clip.gray(start))
        two = turn(look.shrink(clip.gray(end)), look, camera)
        flow = self._dis.calc(one, two, None)
        back = self._dis.calc(two, one, None)
        x, y = np.meshgrid(np.arange(look.width, dtype=np.float32), np.arange(look.height))
        there = np.dstack([x, y]).astype(np.float32) + flow
        returned = cv2.remap(back, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        closed = np.hypot(*np.moveaxis(flow + returned, 2, 0)) < 0.7
        # Flow is smooth: beside the mask it is still half the object's.
        near = cv2.dilate(clip.hidden_look(start).astype(np.uint8), np.ones((9, 9))) > 0
        grid = look.grid((0, 0, look.width, look.height))
        target = apply(camera, look.back(there))
        over = cv2.dilate(clip.hidden_look(end).astype(np.uint8), np.ones((9, 9)))
        at = look.to(target)
        covered = cv2.remap(over, at, None, cv2.INTER_NEAREST, borderValue=1) > 0
        beyond = target - apply(camera, grid)
        known = closed & ~near & ~covered
        box = grown_box(near, 4 * MARGIN_PX)
        return continue_in(beyond, known.astype(np.float32), box)

    def step(self, points: np.ndarray, start: int, end: int) -> np.ndarray:
        """Positions (..., 2) of frame ``start`` in its neighbour ``end``."""
        shape = points.shape
        at = self.clip.look.to(points).astype(np.float32)
        at = at.reshape(-1, 1, 2) if at.ndim == 2 else at
        field = self.residual(start, end)
        beyond = cv2.remap(field, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return apply(self.camera(start, end), points) + beyond.reshape(shape)

    def forget(self, before: int) -> None:
        """Drop flow of frames that will not be asked for again."""
        for key in [key for key in self._flows if min(key) < before]:
            del self._flows[key]
