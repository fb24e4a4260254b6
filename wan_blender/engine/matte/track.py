# SPDX-License-Identifier: GPL-3.0-or-later
"""Outlines on every frame of a shot, from those that somebody drew on some of them.

Between two drawn frames the thing is followed from both, and what was found is mixed by how near
each is; before the first and after the last from one. What was drawn stays as it was drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ...masks.outline import Spline, flatten, match
from .follow import follow

KEY_PX = 0.25  # how far an outline between two keys may be from where it was found
Splines = list[Spline]
ReadGray = Callable[[int], np.ndarray]  # frame -> (H, W) uint8
OnFrame = Callable[[int], None]


@dataclass
class Track:
    """``found``: the outlines by frame. ``hidden``: frames on which it was not seen for a while.
    ``lost``: stretches (first, last) on which nothing can be said."""

    found: dict[int, Splines] = field(default_factory=dict)
    hidden: list[int] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)


def track(
    read: ReadGray,
    frames: range,
    drawn: dict[int, Splines],
    bends: bool = True,
    on_frame: OnFrame = lambda frame: None,
) -> Track:
    """Follow what was ``drawn`` on at least one of ``frames``, outlines in pixels of the pictures.
    All get the points of the first drawn. Raises ValueError for an outline that holds nothing."""
    anchors = sorted(frame for frame in drawn if frame in frames)
    first = drawn[anchors[0]]
    alike = {anchors[0]: first} | {frame: _matched(drawn[frame], first) for frame in anchors[1:]}
    result = Track(dict(alike))

    def run(start: int, stop: int, step: int) -> dict[int, Splines]:
        order = range(start, stop, step)
        pictures = _watched(read, order, on_frame)
        steps = zip(order[1:], follow(pictures, alike[start], bends), strict=False)
        return {frame: found for frame, found in steps if found is not None}

    result.found |= run(anchors[0], frames.start - 1, -1) | run(anchors[-1], frames.stop, 1)
    for left, right in itertools.pairwise(anchors):
        result.found |= _mixed(run(left, right, 1), run(right, left, -1), left, right)
    _say_gaps(result, frames)
    return result


def _matched(splines: Splines, like: Splines) -> Splines:
    """As many outlines as ``like`` with the same numbers of points; those that lack stay where
    they were."""
    matched = []
    left = list(splines)
    for wanted in like:
        if not left:
            matched.append(wanted)
            continue
        nearest = min(left, key=lambda s: np.linalg.norm(s[:, 1].mean(0) - wanted[:, 1].mean(0)))
        left = [spline for spline in left if spline is not nearest]
        same = nearest.shape == wanted.shape
        matched.append(nearest if same else match(nearest, wanted))
    return matched


def _watched(read: ReadGray, order: range, on_frame: OnFrame) -> Iterator[np.ndarray]:
    for frame in order:
        yield read(frame)
        on_frame(frame)


def _mixed(
    ahead: dict[int, Splines], back: dict[int, Splines], left: int, right: int
) -> dict[int, Splines]:
    mixed = ahead | back
    for frame in ahead.keys() & back.keys():
        share = (frame - left) / (right - left)
        pairs = zip(ahead[frame], back[frame], strict=True)
        mixed[frame] = [(1 - share) * a + share * b for a, b in pairs]
    return mixed


def _say_gaps(result: Track, frames: range) -> None:
    """Frames without an outline lie between two that have one, or to the shot's end."""
    known = sorted(result.found)
    for before, after in itertools.pairwise(known):
        result.hidden += range(before + 1, after)
    if known[0] > frames.start:
        result.lost.append((frames.start, known[0] - 1))
    if known[-1] < frames.stop - 1:
        result.lost.append((known[-1] + 1, frames.stop - 1))


def keys_of(found: dict[int, Splines], kept: set[int]) -> list[int]:
    """The frames whose outlines have to be keys: between them straight lines in time are within
    KEY_PX of all found. Those ``kept`` are keys in any case."""
    frames = sorted(found)
    stacked = {f: np.concatenate([flatten(s, 4) for s in found[f]]) for f in frames}
    keys = {0, len(frames) - 1} | {i for i, frame in enumerate(frames) if frame in kept}
    ordered = sorted(keys)
    left = list(itertools.pairwise(ordered))
    while left:
        a, b = left.pop()
        inner = range(a + 1, b)
        away = [_between(stacked, frames[a], frames[i], frames[b]) for i in inner]
        if away and max(away) > KEY_PX:
            middle = a + 1 + int(np.argmax(away))
            keys.add(middle)
            left += [(a, middle), (middle, b)]
    return [frames[i] for i in sorted(keys)]


def _between(stacked: dict[int, np.ndarray], a: int, frame: int, b: int) -> float:
    share = (frame - a) / (b - a)
    straight = (1 - share) * stacked[a] + share * stacked[b]
    return float(np.linalg.norm(straight - stacked[frame], axis=1).max())
