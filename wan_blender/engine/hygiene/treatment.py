# SPDX-License-Identifier: GPL-3.0-or-later
"""The treatment of a start frame as data, and what the model sees of it at each part of the run.

Nothing is baked: the job keeps the original frames, the map of blur radii and its settings. Two
remedies can be used alone or together:

    soft       the shot's frames are lightly blurred where the map says so, for the whole run; end
               frame and references, which have no map, by measure
    scheduled  all that conditions the run is low-passed, as a whole or only there, while the first
               steps decide about motion, and is itself again afterwards (the idea of Adaptive
               Low-Pass Guidance, arXiv 2506.08456, which filters latents; here pixels are filtered
               before they are encoded)

Only what the model is shown changes. The clean latents that the sampler pins, and the pixels of
the composite, stay the source's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...core.answers.hygiene import MeasuredPicture, TreatmentReport
from ...core.errors import SizeMismatch
from ...core.hygiene_settings import Hygiene
from ...core.job_pictures import START
from ...hygiene.bands import luminance, resize
from ...hygiene.blur import MAX_RADIUS, ambiguity, ambiguity_warning, soften
from ...hygiene.matrix import Matrix, analyse
from ...hygiene.sinks import find_sinks
from .automatic import find_radius
from .faces import find_faces

LOW_RADIUS = 0.5  # pixels: where the map blurs that much, a low-pass in its region counts in full
MOST_WARNINGS = 3


class Treatment:
    """``radius`` gives the blur radii (H, W) of a frame of the shot, in pixels at the model's size;
    None = nothing is painted. ``moves``: they are not the same on every frame. ``start``: those of
    the start picture, where it has its own. ``others``: the model is shown pictures without a map,
    too. ``maps`` is a hash of the files that radii are read from."""

    def __init__(
        self,
        settings: Hygiene,
        radius: Callable[[int], np.ndarray] | None = None,
        moves: bool = False,
        seed: int = 0,
        others: bool = False,
        start: np.ndarray | None = None,
        maps: str = "",
    ) -> None:
        self.settings = settings
        self.radius = radius if settings.uses_map else None
        self.start = start if settings.uses_map else None
        self.moves, self.seed, self.others, self._maps = moves, seed, others, maps
        self.measured: dict[str, MeasuredPicture] = {}  # by name, for the report
        self._radii: dict[str, np.ndarray] = {}

    def phase_at(self, fraction: float) -> str:
        """Name of what the model sees at a fraction (0..1) of the steps: 0 is the first step.

        "low", "soft" or "original"; the condition of each needs to be encoded only once.
        """
        settings = self.settings
        if settings.low_passes and settings.start <= fraction < settings.end:
            return "low"
        painted = self.radius is not None or self.start is not None
        return "soft" if settings.softens and (painted or self.others) else "original"

    def phases(self, steps: int) -> list[str]:
        """The phase of each of ``steps`` steps."""
        return [self.phase_at(step / steps) for step in range(steps)]

    def content(self, phase: str) -> str:
        """All that decides what is seen in ``phase``, for a cache to know it by."""
        seed = self.seed if self.others else None  # only pictures without a map depend on it
        return f"{phase} {self.settings} {seed} {self._maps}"

    def describe(self, first: np.ndarray, which: int | str, steps: int) -> TreatmentReport:
        """What was done, for the report: ``first`` (H, W, 3) in -1..1 is the start frame at the
        model's size, ``which`` as for ``see``. Scores are 0..100, ``blurred`` and ``low_passed``
        are shares of the picture, radii are pixels."""
        settings, phases = self.settings, self.phases(steps)
        matrix = analyse((first + 1) / 2)
        said = TreatmentReport(settings.mode, round(matrix.score, 2), by_measure=self.measured)
        radius, notes = self._where(first, which), []
        if radius is not None and settings.softens:
            softened = self._soft(first, radius)
            said = replace(
                said,
                score_blurred=round(analyse((softened + 1) / 2, matrix).score, 2),
                blurred=round(float((radius > 0.05).mean()), 4),
                largest_radius=round(float(radius.max()), 3),
            )
            notes = _ambiguous(first, softened, matrix)
        if "low" in phases:
            last = len(phases) - phases[::-1].index("low")
            steps_of_it = phases.index("low") + 1, last
            said = replace(said, low_passed_steps=steps_of_it, factor=settings.factor)
            if settings.low_pass_region == "map":
                share = 0 if radius is None else (radius > 0.05).mean()
                said = replace(said, low_passed=round(float(share), 4))
        return replace(said, notes=(*notes, *self._notes("low" in phases)))

    def _notes(self, is_low_passed: bool) -> list[str]:
        settings, notes = self.settings, []
        if self.radius is not None and self.moves:
            notes.append("The blur follows a matte; the numbers are those of the first frame.")
        notes += [f"{name}: {w}" for name, said in self.measured.items() for w in said.warnings]
        if self.radius is None and settings.needs_map:
            notes.append("The clip has no blur map, so only pictures beside it were treated.")
        elif self.radius is None and self.start is None and settings.mode == "both":
            notes.append("The clip has no blur map, so its start frame was only low-passed.")
        if settings.low_passes and not is_low_passed:
            notes.append(
                f"No step lies between {settings.start:g} and {settings.end:g} of the run, so "
                "nothing was low-passed."
            )
        return notes

    def see(self, phase: str, picture: np.ndarray, which: int | str = 0) -> np.ndarray:
        """``picture`` (H, W, 3) in -1..1 as the model sees it in ``phase``.

        ``which`` is the frame of the shot that it is, or the name of a picture: the start picture
        has its own map or that of frame 0, others have none.
        "original" returns the picture itself. Raises SizeMismatch for a map of another size.
        """
        if phase == "original":
            return picture
        radius = self._where(picture, which)
        if radius is not None and self.settings.softens:
            picture = self._soft(picture, radius)
        return self._low(picture, radius) if phase == "low" else picture

    def _where(self, picture: np.ndarray, which: int | str) -> np.ndarray | None:
        """The radii (H, W) of a picture; None where no map matters or there is none."""
        if which == START:
            return self._painted(picture, self.start, 0)
        if isinstance(which, str):
            return self._by_measure(picture, which) if self.settings.uses_map else None
        return self._painted(picture, None, which)

    def _painted(
        self, picture: np.ndarray, own: np.ndarray | None, index: int
    ) -> np.ndarray | None:
        """The radii of ``own``, or of the frame ``index``."""
        if own is None and self.radius is None:
            return None
        radius = self.radius(index) if own is None else own
        radius = (radius * self.settings.strength).clip(0, MAX_RADIUS)
        if radius.shape != picture.shape[:2]:
            raise SizeMismatch(
                f"The blur map is {radius.shape[1]} x {radius.shape[0]} pixels, the "
                f"start frame {picture.shape[1]} x {picture.shape[0]}.",
                "Open the matrix view of this start frame and paint its own map.",
            )
        return radius

    def _by_measure(self, picture: np.ndarray, name: str) -> np.ndarray:
        if name not in self._radii:
            found = find_radius((picture + 1) / 2, self.settings, self.seed)
            self._radii[name], said = found
            if not self.settings.softens:  # the radii only say where it is low-passed
                said = MeasuredPicture(said.score, low_passed=said.blurred)
            self.measured[name] = said
        return self._radii[name]

    def _soft(self, picture: np.ndarray, radius: np.ndarray) -> np.ndarray:
        return 2 * soften((picture + 1) / 2, radius, self.settings.keep_edges) - 1

    def _low(self, picture: np.ndarray, radius: np.ndarray | None) -> np.ndarray:
        low = low_pass(picture, self.settings.factor)
        if self.settings.low_pass_region == "whole":
            return low
        if radius is None:
            return picture
        return picture + (radius / LOW_RADIUS).clip(0, 1)[..., None] * (low - picture)


def _ambiguous(picture: np.ndarray, softened: np.ndarray, matrix: Matrix) -> list[str]:
    """A sentence for each region that lost more of its shape than it may, the worst first, and for
    how many more there are. Pictures (H, W, 3) in -1..1, ``matrix`` is of the first."""
    picture, softened = (picture + 1) / 2, (softened + 1) / 2
    planes = luminance(picture), luminance(softened)
    sinks = find_sinks(picture, matrix, find_faces(picture))
    losses = [(ambiguity(*planes, sink), sink) for sink in sinks]
    losses.sort(key=lambda found: -found[0])
    warnings = [w for loss, sink in losses if (w := ambiguity_warning(sink, loss))]
    more = len(warnings) - MOST_WARNINGS
    said = [f"So have {more} more regions."] if more > 0 else []
    return warnings[:MOST_WARNINGS] + said


def low_pass(picture: np.ndarray, factor: float) -> np.ndarray:
    """(H, W, C) reduced to ``factor`` of its size and enlarged again."""
    height, width = picture.shape[:2]
    small = max(round(width * factor), 1), max(round(height * factor), 1)
    return resize(resize(picture, *small), width, height)
