# SPDX-License-Identifier: GPL-3.0-or-later
"""What was borrowed and what is left, counted and in words."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .clip import Clip
from .cuts import Survey
from .fill import Borrowed

SURE = 0.5  # confidence from which a borrowed pixel is used
NOTHING = 0.005  # share of the mask below which it is not worth a word


@dataclass
class Tally:
    """Counts frame by frame; ``masked`` and ``sure`` are pixels."""

    masked: list[int] = field(default_factory=list)
    sure: list[int] = field(default_factory=list)

    def add(self, borrowed: Borrowed, mask: np.ndarray) -> None:
        """Frames come in order."""
        self.masked.append(int(np.count_nonzero(mask > 0)))
        self.sure.append(int(np.count_nonzero(borrowed.confidence >= SURE)))

    @property
    def share(self) -> float:
        """Part of all masked pixels that is borrowed, 0..1; 0 where nothing is masked."""
        return sum(self.sure) / max(1, sum(self.masked))


def describe(clip: Clip, survey: Survey, tally: Tally, first: int = 0) -> list[str]:
    """Notes for the report; ``first`` is the timeline's number of the first frame."""
    return [*_left(clip, survey, tally, first), *_found(survey, first)]


def _left(clip: Clip, survey: Survey, tally: Tally, first: int) -> list[str]:
    if not any(tally.masked):
        return ["The mask is empty on every frame: there is nothing to borrow for."]
    if clip.count == 1:
        return ["The shot has one frame: there is no other to borrow from."]
    if tally.share < NOTHING:
        reason = "no frame shows what is behind the mask"
        if _still(clip, survey):
            reason = "neither the camera nor what is masked moves"
        return [f"Nothing could be borrowed: {reason}."]
    missing = 1 - np.array(tally.sure) / np.maximum(tally.masked, 1)
    missing[np.array(tally.masked) == 0] = 0
    notes = []
    for start, stop in _runs(missing > NOTHING):
        masked = sum(tally.masked[start:stop])
        left = masked - sum(tally.sure[start:stop])
        notes.append(
            f"{100 * left / masked:.0f} % of the mask on {_frames(start, stop, first)} "
            "is not shown well enough by any other frame."
        )
    if notes:
        return notes
    if tally.sure == tally.masked:
        return ["All of the mask is borrowed."]
    return ["Less than 1 % of the mask is not shown well enough by any other frame."]


def _still(clip: Clip, survey: Survey) -> bool:
    moves = [c for c in survey.cameras if c is not None and np.abs(c - np.eye(3)).max() > 0.05]
    first = clip.hidden(0)
    return not moves and all((clip.hidden(i) == first).all() for i in range(clip.count))


def _found(survey: Survey, first: int) -> list[str]:
    notes = []
    if survey.cuts:
        where = ", ".join(str(first + cut) for cut in survey.cuts)
        notes.append(
            f"A new take begins at frame {where}, or the camera could not be followed there: "
            "nothing is borrowed across."
        )
    if survey.lost:
        where = ", ".join(str(first + lost) for lost in survey.lost)
        notes.append(
            f"Frame {where} matches neither neighbour (a flash?): nothing is taken from it."
        )
    if survey.combed:
        notes.append(
            "The shot looks interlaced: deinterlace it first, for borrowed parts to match."
        )
    return notes


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Start and stop of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _frames(start: int, stop: int, first: int) -> str:
    if stop - start == 1:
        return f"frame {first + start}"
    return f"frames {first + start}-{first + stop - 1}"
