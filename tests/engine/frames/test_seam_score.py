# SPDX-License-Identifier: GPL-3.0-or-later
"""How visible an edge is, and how far new frames jump."""

import cv2
import numpy as np
import pytest

from wan_blender.core.answers.report import Cut
from wan_blender.engine.frames.seam_score import (
    find_jumps,
    mean_visible,
    near_cuts,
    score_edge,
)

SIDE = 96


@pytest.fixture(scope="module")
def shot():
    rng = np.random.default_rng(0)
    coarse = cv2.resize(rng.uniform(0.2, 0.8, (12, 12, 3)).astype(np.float32), (SIDE, SIDE))
    plate = np.clip(coarse + rng.normal(0, 0.02, coarse.shape), 0, 1).astype(np.float32)
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[30:60, 34:66] = 1
    return plate, mask, cv2.dilate(mask, np.ones((17, 17))) > 0


SLOPE = np.linspace(-0.2, 0.2, SIDE, dtype=np.float32)[:, None, None]
FAULTS = {
    "tint": lambda plate, k: plate + k * np.float32([0.1, 0, -0.1]),
    "exposure": lambda plate, k: plate * (1 + 0.3 * k),
    "slope": lambda plate, k: plate + k * SLOPE,
    "blur": lambda plate, k: cv2.GaussianBlur(plate, (0, 0), 2 * k) if k else plate,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_stronger_faults_are_more_visible_and_none_is_not(shot, fault):
    plate, mask, generated = shot
    made = [FAULTS[fault](plate, k) for k in (0, 0.1, 0.3, 0.6, 1)]
    seen = [score_edge(plate, picture, mask, generated).visible for picture in made]
    assert seen[0] < 1e-3
    assert seen == sorted(seen)
    assert seen[-1] > 0.7


def test_new_thing_across_a_part_of_the_edge_is_no_seam(shot):
    plate, mask, generated = shot
    picture = plate.copy()
    picture[40:50, 56:74] = [0.9, 0.1, 0.1]
    assert score_edge(plate, picture, mask, generated).step < 0.01


def test_nothing_is_said_where_nothing_was_generated_beyond_the_edge(shot):
    plate, mask, _ = shot
    assert score_edge(plate, plate, mask, mask > 0) is None
    assert score_edge(plate, plate, np.ones_like(mask), mask >= 0) is None
    assert mean_visible([None, None]) is None


def test_jumps_stand_beside_what_moves_by_itself():
    made = [False, False, False, True, True, True, False]
    assert near_cuts(made) == {1, 2, 3, 4, 5, 6}
    level = [0.0, 0.01, 0.02, 0.12, 0.13, 0.14, 0.5]
    small = {i: np.full((4, 4, 3), level[i], np.float32) for i in near_cuts(made)}
    entry, leave = find_jumps(made, small)
    assert entry == Cut(3, 0.1, 0.01)
    assert leave == Cut(6, 0.36, 0.01)
    assert find_jumps([True] * 3, {}) == ()
