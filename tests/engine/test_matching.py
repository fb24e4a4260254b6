# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames matched by what was read of those near them."""

import numpy as np
import pytest

from wan_blender.core.mask_settings import Output
from wan_blender.engine.frames.harmonise import FADE_FRAMES
from wan_blender.engine.matching import look_at, look_at_kept, matched, reach_of

SHAPE = (32, 48, 3)
NO_RING = np.zeros(SHAPE[:2], bool)
CUTS = Output(match_cuts="light")


def looks(kept, frames=24):
    """Kept frames are 0, new ones 0.1 everywhere."""
    whole = np.ones(SHAPE[:2], np.float32)
    plate, new = np.zeros(SHAPE, np.float32), np.full(SHAPE, 0.1, np.float32)
    return {
        i: look_at_kept(CUTS, plate)
        if i in kept
        else look_at(CUTS, plate, new, whole, NO_RING, NO_RING)
        for i in range(frames)
    }


def means(kept, which):
    around, reach = looks(kept), reach_of(CUTS)

    def mean(index):
        near = {other: look for other, look in around.items() if abs(other - index) <= reach}
        return float(matched(CUTS, index, near, 0).mean())

    return [mean(index) for index in which]


def test_new_frames_begin_and_end_with_the_light_of_the_kept_ones():
    assert means({0, 1}, [2, 3, 2 + FADE_FRAMES]) == pytest.approx(
        [0, 0.1 / FADE_FRAMES, 0.1], abs=1e-5
    )
    assert means({22, 23}, [21, 21 - FADE_FRAMES]) == pytest.approx([0, 0.1], abs=1e-5)


def test_frames_without_a_cut_stay():
    assert means(set(), [5, 12]) == pytest.approx([0.1, 0.1])


def test_off_means_off():
    picture = np.full(SHAPE, 0.1, np.float32)
    mask = np.zeros(SHAPE[:2], np.float32)
    mask[8:20, 8:20] = 1
    off = Output()
    assert reach_of(off) == 0
    look = look_at(off, np.zeros(SHAPE, np.float32), picture, mask, mask == 0, mask == 0)
    assert matched(off, 0, {0: look}, 0) is picture
