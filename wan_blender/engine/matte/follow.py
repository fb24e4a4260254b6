# SPDX-License-Identifier: GPL-3.0-or-later
"""Outlines followed from one frame on, through the next or the previous ones.

Each frame is compared with the reference frame itself. When the thing has come to look different
while it still moves as before, the frame before becomes the reference. While it is hidden its
motion goes on as it was; a frame on which it was not seen gets no outline.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from .region import Region, cut_region, smoothed
from .rigid import align, bring_back
from .soft import Softener, sample, similarity

SEEN = 0.45  # share of the region that looks as it did, from which on it is seen
SURE = 0.7  # below this share a new reference may be needed
STEADY = 0.85  # share from one frame to the next that says it moves on unhidden
LONGEST_HIDDEN = 12  # frames
LIKE = 0.5
Splines = list[np.ndarray]


class Follower:
    """``splines`` are outlines in the gray picture (H, W) uint8 that it starts with. Raises
    ValueError where they hold nothing of it. ``bends``: whether what is followed may deform."""

    def __init__(self, gray: np.ndarray, splines: Splines, bends: bool = True) -> None:
        self._bends = bends
        self._hidden = 0
        self._speed = np.eye(3)
        self._refer(smoothed(gray), splines)

    def _refer(self, gray: np.ndarray, splines: Splines) -> None:
        region = cut_region(gray, splines)
        if region is None:
            raise ValueError("the outline holds nothing of the picture")
        self._region: Region = region
        self._splines = splines
        self._softener = Softener(region)
        x, y = region.origin
        self._motion = np.array([(1, 0, x), (0, 1, y), (0, 0, 1)], float)
        self._field = np.zeros((*region.gray.shape, 2), np.float32)
        self._last: tuple[np.ndarray, Splines] = gray, splines

    @property
    def lost(self) -> bool:
        """Whether it was hidden for so long that nothing can be said any more."""
        return self._hidden > LONGEST_HIDDEN

    def step(self, gray: np.ndarray) -> Splines | None:
        """The outlines in the next picture; None where it is not seen."""
        picture = smoothed(gray)
        motion, field, share = self._look(picture)
        if share < SURE and not self._hidden:
            motion, field, share = self._look_anew(picture, motion, field, share)
        before, self._motion = self._motion, motion
        if share < SEEN:
            self._hidden += 1
            self._motion = self._speed @ before
            return None
        if not self._hidden:
            self._speed = _damped(motion @ np.linalg.inv(before))
        self._hidden, self._field = 0, field
        found = [self._moved(spline) for spline in self._splines]
        self._last = picture, found
        return found

    def _look(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Motion, field and share seen, from the better of two guesses."""
        best = self._motion, self._field, -1.0
        for guess in (self._speed @ self._motion, self._motion):
            motion, _ = align(self._region, picture, guess)
            seen, field = bring_back(picture, motion, self._region), self._field
            if self._bends:
                field = self._softener.find(seen, field)
            share = self._share(self._softener.displaced(seen, field))
            if share > best[2]:
                best = motion, field, share
            if share > SURE:
                break
        return best

    def _look_anew(
        self, picture: np.ndarray, motion: np.ndarray, field: np.ndarray, share: float
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """As ``_look``, with the frame before as the reference where that is seen much better."""
        kept = self.__dict__.copy()
        gray, splines = self._last
        if splines is self._splines:  # the frame before is the reference
            return motion, field, share
        try:
            self._refer(gray, splines)
        except ValueError:
            return motion, field, share
        found = self._look(picture)
        if found[2] >= STEADY:
            return found
        self.__dict__.update(kept)
        return motion, field, share

    def _share(self, seen: np.ndarray) -> float:
        like = similarity(self._region, seen)[self._region.inside]
        return float((like > LIKE).mean())

    def _moved(self, spline: np.ndarray) -> np.ndarray:
        flat = spline.reshape(-1, 2) - self._region.origin
        moved = flat + sample(self._field, flat - 0.5)
        # Pixels' middles are at integers in pictures, at halves in outlines.
        placed = cv2.perspectiveTransform((moved - 0.5).reshape(-1, 1, 2), self._motion) + 0.5
        return placed.reshape(spline.shape)


def _damped(speed: np.ndarray) -> np.ndarray:
    """What of a motion from frame to frame is believed to go on: its shift."""
    going = np.eye(3)
    going[:2, 2] = (speed / speed[2, 2])[:2, 2]
    return going


def follow(pictures: Iterator[np.ndarray], splines: Splines, bends: bool = True) -> Iterator:
    """Of each picture after the first, in which ``splines`` are the outlines, the outlines or None;
    ends where what they hold is lost."""
    follower = Follower(next(pictures), splines, bends)
    for picture in pictures:
        yield follower.step(picture)
        if follower.lost:
            return
