# SPDX-License-Identifier: GPL-3.0-or-later
"""Where one take ends and another begins, so that nothing is borrowed across.

Two neighbours belong together when, with the camera's motion taken out, they show the same
structure: the correlation of their pictures, which a flash or a fade leaves alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .camera import follow_camera, turn
from .clip import Clip

SAME = 0.35  # correlation of neighbours that belong together
FIRM = 0.3  # share of points that obey one camera


@dataclass(frozen=True)
class Survey:
    """``cameras[i]`` is the homography from frame i to i + 1 or None, (T - 1) of them; ``cuts``
    are the first frames of each take but the first; ``lost`` are frames whose neighbours belong
    together though they do not match: white flashes and the like; ``combed`` tells interlace."""

    cameras: list[np.ndarray | None]
    cuts: list[int]
    lost: list[int]
    combed: bool

    def take(self, index: int) -> tuple[int, int]:
        """First frame of the take that ``index`` is in, and the one after its last."""
        edges = [0, *self.cuts, len(self.cameras) + 1]
        after = next(i for i, edge in enumerate(edges) if edge > index)
        return edges[after - 1], edges[after]


def survey(clip: Clip, on_frame=lambda index: None) -> Survey:
    """Follow the camera through the whole shot and find its cuts."""
    cameras: list[np.ndarray | None] = []
    cuts: list[int] = []
    lost: list[int] = []
    combs = []
    index = 0
    while index < clip.count:
        on_frame(index)
        if clip.count > 1 and index % 4 == 0:
            combs.append(comb_ratio(clip.frame(index)))
        if index + 1 == clip.count:
            break
        matrix = link(clip, index, index + 1)
        if matrix is None and index + 2 < clip.count:
            across = link(clip, index, index + 2)
            if across is not None:
                lost.append(index + 1)
                half = _half(across)
                cameras += [half, across @ np.linalg.inv(half)]
                index += 2
                continue
        if matrix is None:
            cuts.append(index + 1)
        cameras.append(matrix)
        index += 1
    moving = [c for c in cameras if c is not None and np.abs(c[:2, 2]).max() > 1]
    combed = bool(combs and moving and np.median(combs) > 1.25)
    return Survey(cameras, cuts, lost, combed)


def _half(matrix: np.ndarray) -> np.ndarray:
    """The homography that makes half the way, to first order."""
    return (np.eye(3) + matrix / matrix[2, 2]) / 2


def link(clip: Clip, start: int, end: int) -> np.ndarray | None:
    """The camera's homography between two frames, or None where they do not belong together."""
    matrix, share = follow_camera(clip, start, end)
    if matrix is not None and share >= FIRM:
        return matrix
    if matrix is not None and likeness(clip, start, end, matrix) > SAME:
        return matrix
    if likeness(clip, start, end, np.eye(3)) > SAME or both_flat(clip, start, end):
        return np.eye(3)  # too little to hold on to, and nothing that speaks of motion
    return None


def likeness(clip: Clip, start: int, end: int, matrix: np.ndarray) -> float:
    """Correlation of the evened pictures where both are seen, -1..1."""
    scale = clip.map
    one, two = (scale.shrink(clip.gray(i)).astype(np.float32) for i in (start, end))
    two = turn(two, scale, matrix)
    shown = turn((~clip.hidden(end)).astype(np.float32), scale, matrix)
    seen = (shown > 0.99) & ~clip.hidden(start)
    if seen.sum() < 64:
        return 0.0
    a, b = one[seen] - one[seen].mean(), two[seen] - two[seen].mean()
    spread = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / spread) if spread > 0 else 0.0


def both_flat(clip: Clip, start: int, end: int) -> bool:
    """Whether there is nothing to see in either frame outside the mask, and they look alike."""
    one, two = clip.colours(start), clip.colours(end)
    seen = ~clip.hidden_look(start) & ~clip.hidden_look(end)
    if not seen.any():
        return False
    flat = max(one[seen].std(0).max(), two[seen].std(0).max()) < 0.02
    return bool(flat and np.abs(one[seen].mean(0) - two[seen].mean(0)).max() < 0.05)


def comb_ratio(frame: np.ndarray) -> float:
    """Steps between neighbouring lines over steps between lines of one field; moving interlaced
    pictures are above 1.25, all others below 1."""
    plane = frame[..., :3].mean(2, dtype=np.float32)
    if plane.shape[0] < 8:
        return 0.0
    near = np.abs(plane[1:] - plane[:-1]).mean()
    field = np.abs(plane[2:] - plane[:-2]).mean()
    return float(near / field) if field > 0 else 0.0
