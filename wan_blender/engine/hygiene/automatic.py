# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures without a blur map (end frame, references): just enough blur, by measure."""

from __future__ import annotations

import numpy as np

from ...core.answers.hygiene import MeasuredPicture
from ...core.hygiene_settings import Hygiene
from ...hygiene.blur import radius_map, soften, treat
from ...hygiene.matrix import analyse
from ...hygiene.sinks import find_sinks
from .faces import find_faces


def find_radius(
    picture: np.ndarray, settings: Hygiene, seed: int
) -> tuple[np.ndarray, MeasuredPicture]:
    """The blur radii (H, W) that soften all sinks of ``picture`` (H, W, 3) in 0..1, faces spared,
    and what they do to it.

    A strength above 1 counts as 1: more would pass the ambiguity limit.
    """
    matrix, faces = analyse(picture), find_faces(picture)
    sinks = [s for s in find_sinks(picture, matrix, faces) if not s.protected]
    regions = treat(picture, matrix, sinks, seed, settings.keep_edges, faces)
    radius = radius_map(regions, picture.shape[:2]) * min(settings.strength, 1)
    treated = soften(picture, radius, settings.keep_edges)
    return radius, MeasuredPicture(
        score=round(matrix.score, 2),
        score_blurred=round(analyse(treated, matrix).score, 2),
        blurred=round(float((radius > 0.05).mean()), 4),
        largest_radius=round(float(radius.max()), 3),
        warnings=tuple(region.warning() for region in regions if region.limited),
    )
