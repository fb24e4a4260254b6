# SPDX-License-Identifier: GPL-3.0-or-later
"""Which other frames of the take show what the mask hides, judged by the camera's path alone."""

from __future__ import annotations

import numpy as np

from .camera import apply, hidden_at
from .clip import Clip
from .cuts import Survey

REACH = 96  # frames to each side
MOST = 8  # donors of one frame
WANTED = 5  # donors of one pixel: two to agree, more to outvote what is wrong in one of them
FAR = 20.0  # frames after which a donor is worth half as much
SAMPLES = 600


class CameraPath:
    """The camera from any frame to any other of the same take."""

    def __init__(self, survey: Survey) -> None:
        self._from_first = [np.eye(3)]
        for matrix in survey.cameras:
            before = self._from_first[-1]
            after = np.eye(3) if matrix is None else matrix @ before
            self._from_first.append(after / after[2, 2])

    def between(self, start: int, end: int) -> np.ndarray:
        return self._from_first[end] @ np.linalg.inv(self._from_first[start])


def find_donors(clip: Clip, survey: Survey, path: CameraPath, index: int) -> list[int]:
    """Frames to borrow from for frame ``index``, the most useful first; [] when none shows any of
    it."""
    ys, xs = np.nonzero(clip.hidden(index))
    if len(ys) == 0:
        return []
    step = max(1, len(ys) // SAMPLES)
    points = clip.map.back(np.stack([xs, ys], 1)[::step].astype(np.float32))
    first, after = survey.take(index)
    others = [
        other
        for other in range(max(first, index - REACH), min(after, index + REACH + 1))
        if other != index and other not in survey.lost
    ]
    shown = np.zeros((len(others), len(points)), bool)
    for row, other in enumerate(others):
        shown[row] = ~hidden_at(clip, other, apply(path.between(index, other), points))
    return _choose(shown, np.array(others), index)


def _choose(shown: np.ndarray, others: np.ndarray, index: int) -> list[int]:
    """Greedy cover: what shows most of what is wanted still, near in time, and is not the
    neighbour of one already chosen, which would only repeat its errors."""
    if not shown.any():
        return []
    wanted = np.full(shown.shape[1], float(WANTED))
    worth = 1 / (1 + np.abs(others - index) / FAR)
    fresh = np.ones(len(others))
    chosen: list[int] = []
    while len(chosen) < MOST:
        value = shown @ np.minimum(wanted, 1) * worth * fresh
        best = int(value.argmax())
        if value[best] < 0.004 * shown.shape[1]:
            break
        chosen.append(int(others[best]))
        wanted = np.maximum(wanted - shown[best], 0)
        fresh *= 1 - np.exp(-(((others - others[best]) / 2.5) ** 2))
        fresh[best] = 0
    return chosen
