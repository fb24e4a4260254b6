# SPDX-License-Identifier: GPL-3.0-or-later
"""The treatment of a start frame as data, and what the model sees of it at each part of the run.

Nothing is baked: the job keeps the original frames, the map of blur radii and its settings. Two
remedies can be used alone or together:

    soft       the first frame is lightly blurred where the map says so, for the whole run
    scheduled  all that conditions the run is low-passed as a whole while the first steps decide
               about motion, and is itself again afterwards (the idea of Adaptive Low-Pass
               Guidance, arXiv 2506.08456, which filters latents; here pixels are filtered before
               they are encoded)

Only what the model is shown changes. The clean latents that the sampler pins, and the pixels of
the composite, stay the source's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import SizeMismatch
from ...hygiene.bands import resize
from ...hygiene.blur import MAX_RADIUS, soften
from ...hygiene.matrix import analyse
from ...job import Hygiene

SOFT, SCHEDULED = ("soft", "both"), ("scheduled", "both")


class Treatment:
    """``radius`` (H, W): blur radii in pixels at the model's size, None = nothing is painted."""

    def __init__(self, settings: Hygiene, radius: np.ndarray | None = None) -> None:
        self.settings = settings
        self.radius = radius if settings.mode in SOFT else None

    def phase_at(self, fraction: float) -> str:
        """Name of what the model sees at a fraction (0..1) of the steps: 0 is the first step.

        "low", "soft" or "original"; the condition of each needs to be encoded only once.
        """
        settings = self.settings
        if settings.mode in SCHEDULED and settings.start <= fraction < settings.end:
            return "low"
        return "original" if self.radius is None else "soft"

    def phases(self, steps: int) -> list[str]:
        """The phase of each of ``steps`` steps."""
        return [self.phase_at(step / steps) for step in range(steps)]

    def describe(self, first: np.ndarray, steps: int) -> dict[str, Any]:
        """What was done, for the report: ``first`` (H, W, 3) in -1..1 is the start frame at the
        model's size. Scores are 0..100, ``blurred`` is a share of the picture, radii are pixels."""
        phases = self.phases(steps)
        said: dict[str, Any] = {"mode": self.settings.mode}
        said["score"] = round(analyse((first + 1) / 2).score, 2)
        if self.radius is not None:
            radius = (self.radius * self.settings.strength).clip(0, MAX_RADIUS)
            said["blurred"] = round(float((radius > 0.05).mean()), 4)
            said["largest_radius"] = round(float(radius.max()), 3)
            said["score_blurred"] = round(analyse((self._soft(first) + 1) / 2).score, 2)
        if "low" in phases:
            last = len(phases) - phases[::-1].index("low")
            said["low_passed_steps"] = [phases.index("low") + 1, last]
            said["factor"] = self.settings.factor
        said["notes"] = self._notes("low" in phases)
        return said

    def _notes(self, is_low_passed: bool) -> list[str]:
        notes = []
        if self.settings.mode == "both" and self.radius is None:
            notes.append("The clip has no blur map, so its start frame was only low-passed.")
        if self.settings.mode in SCHEDULED and not is_low_passed:
            notes.append(
                f"No step lies between {self.settings.start:g} and {self.settings.end:g} of the "
                "run, so nothing was low-passed."
            )
        return notes

    def see(self, phase: str, picture: np.ndarray, is_first: bool = True) -> np.ndarray:
        """``picture`` (H, W, 3) in -1..1 as the model sees it in ``phase``.

        The map belongs to the first frame: other pictures (``is_first`` False) are low-passed only.
        "original" returns the picture itself. Raises SizeMismatch for a map of another size.
        """
        if phase == "original":
            return picture
        if self.radius is not None and is_first:
            picture = self._soft(picture)
        return low_pass(picture, self.settings.factor) if phase == "low" else picture

    def _soft(self, picture: np.ndarray) -> np.ndarray:
        if self.radius.shape != picture.shape[:2]:
            raise SizeMismatch(
                f"The blur map is {self.radius.shape[1]} x {self.radius.shape[0]} pixels, the "
                f"start frame {picture.shape[1]} x {picture.shape[0]}.",
                "Open the matrix view of this start frame and paint its own map.",
            )
        radius = (self.radius * self.settings.strength).clip(0, MAX_RADIUS)
        return 2 * soften((picture + 1) / 2, radius, self.settings.keep_edges) - 1


def low_pass(picture: np.ndarray, factor: float) -> np.ndarray:
    """(H, W, C) reduced to ``factor`` of its size and enlarged again."""
    height, width = picture.shape[:2]
    small = max(round(width * factor), 1), max(round(height * factor), 1)
    return resize(resize(picture, *small), width, height)
