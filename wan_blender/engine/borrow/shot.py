# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way in: a whole shot, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .clip import Clip, Frames
from .cuts import survey
from .donors import REACH, CameraPath
from .fill import Borrowed, Filler
from .motion import Motion
from .notes import Tally, describe


class Borrower:
    """Looks through the shot once when it is made; then frames can be filled, fastest in order.

    ``frames(i)`` is (H, W, C), uint8, uint16 or float in 0..1, C 1, 3 or 4 (straight alpha);
    ``masks(i)`` (H, W), above 0 where something is to be borrowed. Both may be arrays; ``count``
    is needed for callables. ``check`` is called before each frame is read, and may raise.
    """

    def __init__(
        self,
        frames: Frames,
        masks: Frames,
        count: int | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.clip = Clip(frames, masks, count, check)
        self.survey = survey(self.clip)
        self.tally = Tally()
        self._motion = Motion(self.clip, self.survey.cameras)
        self._filler = Filler(self.clip, self.survey, CameraPath(self.survey), self._motion)

    def fill(self, index: int) -> Borrowed:
        self._motion.forget(index - REACH)
        return self._filler.fill(index)

    def __iter__(self) -> Iterator[Borrowed]:
        """All frames in order, counted for ``notes``."""
        self.tally = Tally()
        for index in range(self.clip.count):
            borrowed = self.fill(index)
            self.tally.add(borrowed, self.clip.mask(index))
            yield borrowed

    def notes(self, first: int = 0) -> list[str]:
        """After all frames were filled: what is left, in words; ``first`` is the number of the
        first frame on the timeline."""
        return describe(self.clip, self.survey, self.tally, first)
