# SPDX-License-Identifier: GPL-3.0-or-later
"""Following a matte on clips with a known one, at half the size of the benchmark."""

import cv2
import numpy as np
import pytest

from tests.engine.matte.clips import HIDDEN, MOTIONS, RIGID, Clip, make_clip, overlap
from wan_blender.engine.matte.region import fill
from wan_blender.engine.matte.track import keys_of, track
from wan_blender.masks import outline

SIZE, COUNT = (416, 240), 48


def grays(clip: Clip) -> list[np.ndarray]:
    return [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in clip.frames]


def in_time(found, frame):
    """The outlines on a frame as Blender shows them, straight between keys."""
    before = max(key for key in found if key <= frame)
    after = min(key for key in found if key >= frame)
    share = (frame - before) / max(after - before, 1)
    pairs = zip(found[before], found[after], strict=True)
    return [(1 - share) * a + share * b for a, b in pairs]


@pytest.mark.parametrize("motion", MOTIONS)
def test_matte_stays_on_what_it_was_drawn_on(motion):
    clip = make_clip(motion, SIZE, COUNT)
    pictures = grays(clip)
    result = track(lambda frame: pictures[frame], range(COUNT), {0: clip.splines})
    assert result.lost == []
    assert result.hidden == (list(HIDDEN) if motion == "occlusion" else [])
    keys = keys_of(result.found, {0})
    shown = {frame: result.found[frame] for frame in keys}
    least = 0.9 if motion in RIGID else 0.8
    for frame in range(COUNT):
        assert overlap(fill(in_time(shown, frame), SIZE), clip.truth[frame]) >= least, frame
    shapes = {tuple(s.shape for s in splines) for splines in result.found.values()}
    assert len(shapes) == 1


@pytest.fixture(scope="module")
def moving() -> Clip:
    return make_clip("rotation", SIZE, 24, seed=3)


def test_it_is_followed_from_the_middle_both_ways_and_from_what_was_corrected(moving):
    pictures = grays(moving)
    whole = track(lambda f: pictures[f], range(24), {0: moving.splines})
    drawn = {frame: whole.found[frame] for frame in (9, 17)}
    seen = []
    result = track(lambda f: pictures[f], range(24), drawn, on_frame=seen.append)
    assert set(result.found) == set(range(24))
    for frame in range(24):
        assert overlap(fill(result.found[frame], SIZE), moving.truth[frame]) > 0.9
    for frame, splines in drawn.items():
        np.testing.assert_array_equal(result.found[frame], splines)


def test_correction_of_other_points_takes_over_those_of_the_first(moving):
    pictures = grays(moving)
    (first,) = moving.splines
    other = outline.polygon(outline.flatten(first, 3)[::-1])
    result = track(lambda f: pictures[f], range(6), {0: [first], 5: [other]})
    (last,) = result.found[5]
    assert last.shape == first.shape
    assert overlap(fill([last], SIZE), fill([other], SIZE)) > 0.93
    assert np.linalg.norm(last[:, 1] - first[:, 1], axis=1).max() < 12  # no twist


def test_what_leaves_for_good_is_lost_and_that_is_said(moving):
    pictures = grays(moving)
    ground = make_clip("translation", SIZE, 1, seed=9).frames[0]
    empty = cv2.cvtColor(ground[:, ::-1], cv2.COLOR_BGR2GRAY)
    gone = [*pictures[:6], *[empty] * 40]
    result = track(lambda f: gone[f], range(46), {0: moving.splines})
    assert result.lost == [(6, 45)]
    assert sorted(result.found) == list(range(6))
    back = track(lambda f: gone[45 - f], range(46), {45: moving.splines})
    assert back.lost == [(0, 39)]


def test_keys_are_few_where_motion_is_straight_and_hold_what_was_drawn():
    box = outline.box(0, 0, 10, 10)
    found = {frame: [box + np.array((frame, 0))] for frame in range(40)}
    assert keys_of(found, {0}) == [0, 39]
    assert keys_of(found, {0, 7}) == [0, 7, 39]
    bent = {frame: [box + np.array((0, max(frame - 20, 0)))] for frame in range(40)}
    assert keys_of(bent, set()) == [0, 20, 39]


def test_outline_outside_of_the_picture_is_refused(moving):
    with pytest.raises(ValueError, match="nothing"):
        track(lambda f: grays(moving)[f], range(3), {0: [outline.box(900, 900, 950, 950)]})
