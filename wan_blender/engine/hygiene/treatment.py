# SPDX-License-Identifier: GPL-3.0-or-later
"""The treatment of a start frame as data, and what the model sees of it at each part of the run.

Nothing is baked: the job keeps the original frames, the map of blur radii and its settings. Two
remedies can be used alone or together:

    soft       the shot's frames are lightly blurred where the map says so, for the whole run; end
               frame and references, which have no map, by measure
    scheduled  all that conditions the run is low-passed as a whole while the first steps decide
               about motion, and is itself again afterwards (the idea of Adaptive Low-Pass
               Guidance, arXiv 2506.08456, which filters latents; here pixels are filtered before
               they are encoded)

Only what the model is shown changes. The clean latents that the sampler pins, and the pixels of
the composite, stay the source's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import SizeMismatch
from ...hygiene.bands import resize
from ...hygiene.blur import MAX_RADIUS, soften
from ...hygiene.matrix import analyse
from ...job import Hygiene
from .automatic import treat_picture

SOFT, SCHEDULED = ("soft", "both"), ("scheduled", "both")


class Treatment:
    """``radius`` gives the blur radii (H, W) of a frame of the shot, in pixels at the model's size;
    None = nothing is painted. ``moves``: they are not the same on every frame."""

    def __init__(
        self,
        settings: Hygiene,
        radius: Callable[[int], np.ndarray] | None = None,
        moves: bool = False,
        seed: int = 0,
    ) -> None:
        self.settings = settings
        self.radius = radius if settings.mode in SOFT else None
        self.moves, self.seed = moves, seed
        self.measured: dict[str, dict[str, Any]] = {}  # pictures treated by measure, for the report
        self._treated: dict[str, np.ndarray] = {}

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
            radius = self._radius(0)
            said["blurred"] = round(float((radius > 0.05).mean()), 4)
            said["largest_radius"] = round(float(radius.max()), 3)
            said["score_blurred"] = round(analyse((self._soft(first, 0) + 1) / 2).score, 2)
        if "low" in phases:
            last = len(phases) - phases[::-1].index("low")
            said["low_passed_steps"] = [phases.index("low") + 1, last]
            said["factor"] = self.settings.factor
        if self.measured:
            said["by_measure"] = self.measured
        said["notes"] = self._notes("low" in phases)
        return said

    def _notes(self, is_low_passed: bool) -> list[str]:
        notes = []
        if self.radius is not None and self.moves:
            notes.append("The blur follows a matte; the numbers are those of the first frame.")
        notes += [f"{name}: {w}" for name, said in self.measured.items() for w in said["warnings"]]
        if self.settings.mode == "both" and self.radius is None:
            notes.append("The clip has no blur map, so its start frame was only low-passed.")
        if self.settings.mode in SCHEDULED and not is_low_passed:
            notes.append(
                f"No step lies between {self.settings.start:g} and {self.settings.end:g} of the "
                "run, so nothing was low-passed."
            )
        return notes

    def see(self, phase: str, picture: np.ndarray, which: int | str = 0) -> np.ndarray:
        """``picture`` (H, W, 3) in -1..1 as the model sees it in ``phase``.

        ``which`` is the frame of the shot that it is, or the name of a picture without a map.
        "original" returns the picture itself. Raises SizeMismatch for a map of another size.
        """
        if phase == "original":
            return picture
        if self.radius is not None:
            by_map = isinstance(which, int)
            picture = self._soft(picture, which) if by_map else self._by_measure(picture, which)
        return low_pass(picture, self.settings.factor) if phase == "low" else picture

    def _radius(self, index: int) -> np.ndarray:
        return (self.radius(index) * self.settings.strength).clip(0, MAX_RADIUS)

    def _soft(self, picture: np.ndarray, index: int) -> np.ndarray:
        radius = self._radius(index)
        if radius.shape != picture.shape[:2]:
            raise SizeMismatch(
                f"The blur map is {radius.shape[1]} x {radius.shape[0]} pixels, the "
                f"start frame {picture.shape[1]} x {picture.shape[0]}.",
                "Open the matrix view of this start frame and paint its own map.",
            )
        return 2 * soften((picture + 1) / 2, radius, self.settings.keep_edges) - 1

    def _by_measure(self, picture: np.ndarray, name: str) -> np.ndarray:
        if name not in self._treated:
            treated, said = treat_picture((picture + 1) / 2, self.settings, self.seed)
            self._treated[name], self.measured[name] = 2 * treated - 1, said
        return self._treated[name]


def low_pass(picture: np.ndarray, factor: float) -> np.ndarray:
    """(H, W, C) reduced to ``factor`` of its size and enlarged again."""
    height, width = picture.shape[:2]
    small = max(round(width * factor), 1), max(round(height * factor), 1)
    return resize(resize(picture, *small), width, height)
