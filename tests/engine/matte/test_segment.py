# SPDX-License-Identifier: GPL-3.0-or-later
"""What a click finds on pictures with known things."""

import cv2
import numpy as np
import pytest

from tests.engine.matte.clips import overlap
from wan_blender.core.errors import EmptyMask
from wan_blender.engine.matte.region import fill
from wan_blender.engine.matte.segment import outline_of, segment

SIZE = (208, 120)
THINGS = (((70, 60), (30, 20), (40, 60, 190)), ((150, 50), (20, 26), (190, 90, 40)))


def picture() -> tuple[np.ndarray, list[np.ndarray]]:
    """Two things, a red one and a blue one, on a ground that shades; and where each is."""
    rng = np.random.default_rng(0)
    ground = rng.normal(0, 18, (5, 8, 3)).astype(np.float32)
    image = np.array((110, 125, 100)) + cv2.resize(ground, SIZE, interpolation=cv2.INTER_CUBIC)
    things = []
    for centre, axes, color in THINGS:
        inside = np.zeros(SIZE[::-1], np.uint8)
        cv2.ellipse(inside, centre, axes, 25, 0, 360, 1, -1)
        things.append(inside > 0)
        image[things[-1]] = color
    image = image + rng.normal(0, 5, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), things


def click(x: float, y: float) -> np.ndarray:
    return np.array([(x, y)], float)


def test_click_finds_the_thing_under_it_and_no_other():
    image, (red, blue) = picture()
    assert overlap(segment(image, [click(70, 60)], []), red) > 0.9
    assert overlap(segment(image, [click(150, 50)], []), blue) > 0.9


def test_two_clicks_hold_two_things_and_a_stroke_takes_one_out():
    image, (red, blue) = picture()
    both = segment(image, [click(70, 60), click(150, 50)], [])
    assert overlap(both, red | blue) > 0.9
    assert len(outline_of(both)) == 2
    one = segment(image, [click(70, 60)], [np.array([(140, 45), (160, 55)], float)])
    assert overlap(one, red) > 0.9


def test_outline_has_few_points_and_holds_what_was_found():
    image, (_red, _) = picture()
    found = segment(image, [click(70, 60)], [])
    (spline,) = outline_of(found)
    assert len(spline) <= 40
    assert overlap(fill([spline], SIZE), found) > 0.95


def test_same_strokes_find_the_same():
    image, _ = picture()
    again = [segment(image, [click(70, 60)], []) for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_click_beside_the_picture_is_told():
    image, _ = picture()
    with pytest.raises(EmptyMask, match="touches"):
        segment(image, [click(900, 900)], [])
    with pytest.raises(EmptyMask):
        outline_of(np.zeros((9, 9), bool))
