# SPDX-License-Identifier: GPL-3.0-or-later
"""How visible the edge of a patch is, from what was made just beyond it; how far new frames jump.

Where cells beyond the mask's edge were generated, the model drew what the plate shows as well: what
differs there in colour and in fine detail differs across the edge of the patch too. Colours are
compared after an average over a few pixels, detail by the logarithm of its mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ...core.answers.report import Cut

REACH_PX = 8
ALONG_PX = 3.0  # over which colours are averaged
STEP, BREAK = 0.02, 0.35  # of colour in 0..1, and of the logarithm of detail, that are seen
GRAIN = 0.004  # detail below which nothing is told apart
FEWEST = 64  # pixels that tell something
SMALL = 64  # side of the copies that jumps are measured on


class EdgeScore(NamedTuple):
    """``step`` of colour (0..1) and ``texture`` break (natural logarithm, without its sign)."""

    step: float
    texture: float

    @property
    def visible(self) -> float:
        """Both together, 0 to 1."""
        return 1 - float(np.exp(-np.hypot(self.step / STEP, self.texture / BREAK)))


def score_edge(
    plate: np.ndarray, picture: np.ndarray, mask: np.ndarray, generated: np.ndarray
) -> EdgeScore | None:
    """Of one frame: pictures (H, W, 3) in 0..1, ``mask`` and pixels of ``generated`` cells (H, W).
    None where too little was generated beyond the mask's edge."""
    inside = (mask > 0).astype(np.uint8)
    near = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3) <= REACH_PX
    beside = (inside == 0) & near & (generated > 0)
    if np.count_nonzero(beside) < FEWEST:
        return None
    weight = cv2.GaussianBlur(beside.astype(np.float32), (0, 0), ALONG_PX)
    apart = (picture - plate) * beside[..., None]
    mean = cv2.GaussianBlur(apart.astype(np.float32), (0, 0), ALONG_PX)[beside]
    step = float(np.median(np.abs(mean / weight[beside][:, None]).max(1)))
    made, own = (float(np.log(_detail(p, beside) + GRAIN)) for p in (picture, plate))
    return EdgeScore(step, abs(made - own))


def _detail(picture: np.ndarray, where: np.ndarray) -> float:
    return float(np.abs(picture - cv2.GaussianBlur(picture, (0, 0), 1.0))[where].mean())


def mean_visible(scores: Sequence[EdgeScore | None]) -> float | None:
    """Over the frames that could be scored."""
    seen = [score.visible for score in scores if score is not None]
    return round(float(np.mean(seen)), 4) if seen else None


def near_cuts(made: Sequence[bool]) -> set[int]:
    """Frames within two of a place where new frames follow on kept ones or the other way."""
    cuts = [i for i in range(1, len(made)) if made[i] != made[i - 1]]
    return {i for cut in cuts for i in range(max(cut - 2, 0), min(cut + 2, len(made)))}


def find_jumps(made: Sequence[bool], small: Mapping[int, np.ndarray]) -> tuple[Cut, ...]:
    """For each cut the number of its second frame, how far the picture moves there and how far the
    frames on its two sides move by themselves, the larger of both; mean absolute differences in
    0..1 of the ``small`` copies of ``near_cuts``."""

    def moved(at: int) -> float:
        return float(np.abs(small[at] - small[at - 1]).mean())

    found = []
    for cut in range(1, len(made)):
        if made[cut] == made[cut - 1]:
            continue
        beside = [moved(at) for at in (cut - 1, cut + 1) if at in small and at - 1 in small]
        own = max(beside, default=0.0)
        found.append(Cut(cut, round(moved(cut), 5), round(own, 5)))
    return tuple(found)
