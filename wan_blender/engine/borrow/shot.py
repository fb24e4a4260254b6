# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way in: a whole shot, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .clip import Clip, Frames
from .cuts import survey
from .donors import REACH, Path
from .fill import Borrowed, Filler
from .motion import Motion


class Borrower:
    """Looks through the shot once, then fills frames in any order, best in their own."""

    def __init__(
        self,
        frames: Frames,
        masks: Frames,
        count: int | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.clip = Clip(frames, masks, count, check)
        self.survey = survey(self.clip)
        path = Path(self.survey)
        self._motion = Motion(self.clip, self.survey.cameras)
        self._filler = Filler(self.clip, self.survey, path, self._motion)

    def fill(self, index: int) -> Borrowed:
        self._motion.forget(index - REACH)
        return self._filler.fill(index)

    def __iter__(self) -> Iterator[Borrowed]:
        return (self.fill(index) for index in range(self.clip.count))
