# SPDX-License-Identifier: GPL-3.0-or-later
"""What one frame's picture lacks beside the plate, and a frame matched by what was read of those
near it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..core.mask_settings import Output
from .frames.harmonise import (
    CUT_SIDE,
    FADE_FRAMES,
    enlarged,
    fade,
    field_at_cut,
    membrane,
    reduced,
)
from .frames.seams import SMOOTHING, add_grain, colour_offset, grain_level, mean_near


@dataclass(frozen=True)
class Look:
    """One frame's ``picture`` on the part that is worked on, in [-1, 1], None where it is the
    plate; and what was read of it: the colour that it lacks around its mask, the deviation of
    grain, the membrane over it, and a ``small`` copy where a cut is near."""

    picture: np.ndarray | None
    offset: np.ndarray | None = None
    grain: np.ndarray | None = None
    field: np.ndarray | None = None
    small: np.ndarray | None = None


def reach_of(output: Output) -> int:
    """How many frames to each side a frame's match hangs on."""
    around = SMOOTHING if output.colour_match or output.grain_match or output.harmonise else 0
    return max(around, FADE_FRAMES if output.match_cuts != "off" else 0)


def look_at(
    output: Output,
    plate: np.ndarray,
    picture: np.ndarray,
    mask: np.ndarray,
    ring: np.ndarray,
    generated: np.ndarray,
) -> Look:
    """``plate`` and ``picture`` with what was generated over it; ``ring`` is where both are read,
    ``generated`` tells the pixels of generated cells."""
    offset = grain = field = small = None
    if output.colour_match:
        offset = colour_offset(plate, picture, ring)
    if output.grain_match:
        grain = _missing_grain(plate, picture, ring)
    if output.harmonise:
        shift = 0 if offset is None else offset.astype(np.float32)
        field = membrane(plate, picture + shift, mask, generated & ring)
    if output.match_cuts != "off":
        small = reduced(picture, CUT_SIDE)
    return Look(picture, offset, grain, field, small)


def look_at_kept(output: Output, plate: np.ndarray) -> Look:
    return Look(None, small=reduced(plate, CUT_SIDE) if output.match_cuts != "off" else None)


def matched(output: Output, index: int, looks: Mapping[int, Look], seed: int) -> np.ndarray:
    """The picture of frame ``index``, which is not the plate's, with all that is asked for."""
    picture = looks[index].picture
    added: list[np.ndarray | None] = [mean_near({i: k.offset for i, k in looks.items()}, index)]
    field = mean_near({i: k.field for i, k in looks.items()}, index)
    added.append(None if field is None else output.harmonise * enlarged(field, picture.shape))
    if output.match_cuts != "off":
        cuts = _cuts(index, looks, output.match_cuts)
        added += [enlarged(cut, picture.shape) for cut in cuts]
    for more in added:
        if more is not None:
            picture = np.clip(picture + more.astype(np.float32), -1, 1)
    grain = mean_near({i: k.grain for i, k in looks.items()}, index)
    return picture if grain is None else add_grain(picture, grain, seed + index)


def _cuts(index: int, looks: Mapping[int, Look], how: str) -> list[np.ndarray]:
    """What the nearest cut on each side asks of frame ``index``."""
    fields = []
    for way in (-1, 1):
        kept = index + way
        while kept in looks and looks[kept].picture is not None:
            kept += way
        share = fade(abs(kept - index))
        if kept in looks and share:
            field = field_at_cut(looks[kept - way].small, looks[kept].small, how)
            fields.append(share * field)
    return fields


def _missing_grain(plate: np.ndarray, picture: np.ndarray, ring: np.ndarray) -> np.ndarray | None:
    wanted, present = grain_level(plate, ring), grain_level(picture, ring)
    if wanted is None or present is None:
        return None
    return np.sqrt(np.maximum(wanted**2 - present**2, 0))
