# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a thing that comes back from behind something still the same?"""

from __future__ import annotations

import cv2
import numpy as np

from ...core.answers.insight import Return
from ...hygiene.bands import split
from ..hygiene.measure.motion import optical_flow

GONE = 0.3  # share of a region's largest area below which it is hidden
BACK = 0.7  # share of it from which on it can be compared
SEARCH = 8  # pixels around the shift of the two centres


class Watched:
    """One region over the clip; ``add`` is given each frame in order."""

    def __init__(self) -> None:
        self.returns: list[Return] = []
        self._largest, self._hidden = 0, False
        self._last: tuple[int, np.ndarray, np.ndarray] | None = None

    def add(self, index: int, plane: np.ndarray, region: np.ndarray) -> None:
        """``plane`` (H, W) luma in 0..1, ``region`` bool (H, W)."""
        area = int(region.sum())
        self._largest = max(self._largest, area)
        if area < GONE * self._largest:
            self._hidden = self._last is not None
        if area == 0 or area < BACK * self._largest:
            return
        if self._hidden:
            before, earlier, there = self._last
            found = correlate(plane, region, earlier, there)
            self.returns.append(Return(before, index, round(found, 4)))
        self._hidden, self._last = False, (index, plane, region)


def correlate(
    plane: np.ndarray, region: np.ndarray, earlier: np.ndarray, there: np.ndarray
) -> float:
    """Correlation of the fine bands of ``region`` of ``plane`` with those of ``there`` in
    ``earlier``: the centres laid over each other, then moved to where they are most alike, then
    brought along the flow that is left. 0 where there is no detail."""
    shift = _centre(there) - _centre(region)
    moved = _shifted(earlier, shift)
    (x, y, w, h) = cv2.boundingRect(region.astype(np.uint8))
    part = np.s_[y : y + h, x : x + w]
    inside, fine = region[part], _fine(plane)[part]
    wide = cv2.copyMakeBorder(_fine(moved), *[SEARCH] * 4, cv2.BORDER_REFLECT)
    wide = wide[y : y + h + 2 * SEARCH, x : x + w + 2 * SEARCH]
    alike = cv2.matchTemplate(wide, (fine * inside).astype(np.float32), cv2.TM_CCORR)
    _, _, _, (dx, dy) = cv2.minMaxLoc(alike)
    moved = _shifted(moved, np.array([dx - SEARCH, dy - SEARCH]))
    flow = optical_flow(plane, moved)
    grid = np.stack(np.meshgrid(*map(np.arange, plane.shape[::-1])), -1).astype(np.float32) + flow
    brought = cv2.remap(moved, grid[..., 0], grid[..., 1], cv2.INTER_LANCZOS4, borderMode=1)
    return max(_correlation(fine, _fine(m)[part], inside) for m in (moved, brought))


def _centre(region: np.ndarray) -> np.ndarray:
    return np.argwhere(region).mean(0)[::-1]


def _shifted(plane: np.ndarray, by: np.ndarray) -> np.ndarray:
    """``plane`` as seen from ``by`` = (dx, dy) pixels further."""
    move = np.float32([[1, 0, -by[0]], [0, 1, -by[1]]])
    size = plane.shape[::-1]
    return cv2.warpAffine(plane, move, size, flags=cv2.INTER_CUBIC, borderMode=1)


def _fine(plane: np.ndarray) -> np.ndarray:
    return sum(split(plane, 2)[0])


def _correlation(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    a, b = a[where] - a[where].mean(), b[where] - b[where].mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 0 else 0.0
