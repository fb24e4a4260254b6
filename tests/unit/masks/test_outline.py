# SPDX-License-Identifier: GPL-3.0-or-later
"""Outlines of mattes without Blender: what they draw, how few points they need, where they lie."""

import numpy as np
import pytest

from wan_blender.masks import outline


def area(line: np.ndarray) -> float:
    x, y = line.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def test_box_and_polygon_draw_straight_sides():
    spline = outline.box(2, 3, 12, 9)
    line = outline.flatten(spline)
    assert area(line) == pytest.approx(60)
    on_side = (np.isclose(line[:, 0], 2) | np.isclose(line[:, 0], 12)) | (
        np.isclose(line[:, 1], 3) | np.isclose(line[:, 1], 9)
    )
    assert on_side.all()
    assert outline.is_corner(spline).all()


def test_ellipse_is_one_to_a_thousandth():
    spline = outline.ellipse(-10, 0, 10, 8)
    line = outline.flatten(spline)
    radius = np.hypot(line[:, 0] / 10, (line[:, 1] - 4) / 4)
    assert abs(radius - 1).max() < 1e-3
    assert not outline.is_corner(spline).any()


def test_smooth_follows_a_line_with_few_points_and_keeps_its_corners():
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = 100 + 60 * np.stack([np.cos(angle), np.sin(angle)], 1)
    spline = outline.smooth(circle)
    assert len(spline) <= 32
    assert area(outline.flatten(spline)) == pytest.approx(np.pi * 60**2, rel=0.01)
    square = outline.flatten(outline.box(0, 0, 50, 50), 50)
    spline = outline.smooth(square)
    assert len(spline) == 4
    assert outline.is_corner(spline).all()
    assert area(outline.flatten(spline)) == pytest.approx(2500)


def test_smooth_keeps_to_the_number_of_points():
    rng = np.random.default_rng(1)
    rough = 100 + (50 + 9 * rng.random((300, 1))) * np.stack(
        [np.cos(np.arange(300) / 300 * 2 * np.pi), np.sin(np.arange(300) / 300 * 2 * np.pi)], 1
    )
    assert len(outline.smooth(rough, most=20)) <= 20


@pytest.mark.parametrize("line", [np.zeros((1, 2)), np.zeros((9, 2)), np.array([(0, 0), (5, 0)])])
def test_lines_of_no_size_are_no_error(line):
    assert np.isfinite(outline.smooth(line)).all()


@pytest.mark.parametrize("size", [(832, 480), (480, 832), (64, 64)])
def test_mask_coordinates_go_there_and_back(size):
    spline = outline.ellipse(3, 4, 40, 30)
    np.testing.assert_allclose(outline.from_mask(outline.to_mask(spline, size), size), spline)
    middle = outline.polygon(np.array([(size[0] / 2, size[1] / 2)] * 3))
    np.testing.assert_allclose(outline.to_mask(middle, size), 0.5)
