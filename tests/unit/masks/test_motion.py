# SPDX-License-Identifier: GPL-3.0-or-later
"""Masks widened by their motion, against what a signed distance says is covered on the way."""

from __future__ import annotations

import numpy as np
import pytest

from wan_blender.masks.motion import widened

HEIGHT, WIDTH = 96, 128
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)


def disc(time: float) -> np.ndarray:
    """Signed distance (H, W) in pixels, below 0 inside: 9 px a frame to the right and down."""
    return np.hypot(X - 24 - 9 * time, Y - 30 - 4 * time) - 11


def growing(time: float) -> np.ndarray:
    return np.hypot(X - 60 - 3 * time, Y - 48) - (8 + 5 * time)


def turning(time: float) -> np.ndarray:
    """A bar, 20 degrees a frame."""
    angle = np.radians(20 * time)
    u = (X - 64) * np.cos(angle) + (Y - 48) * np.sin(angle)
    v = (Y - 48) * np.cos(angle) - (X - 64) * np.sin(angle)
    return np.maximum(np.abs(u) - 34, np.abs(v) - 8)


def tumbling(time: float) -> np.ndarray:
    angle = np.radians(10 * time)
    x, y = X - 30 - 12 * time, Y - 40 - 3 * time
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.maximum(np.abs(u) - 16, np.abs(v) - 7)


def covered(shape, start: float, end: float) -> np.ndarray:
    """Least distance over all times between the two."""
    return np.min([shape(time) for time in np.linspace(start, end, 65)], 0)


@pytest.mark.parametrize("shape", [disc, growing, turning, tumbling])
@pytest.mark.parametrize("shutter", [0.5, 1.0])
def test_what_moves_is_covered_as_long_as_the_shutter_is_open(shape, shutter):
    frames = [(shape(time) <= 0).astype(np.float32) for time in range(5)]
    wide = widened(frames.__getitem__, 5, shutter)
    for index in range(1, 5):
        start = max(index - shutter / 2, 1)  # frames 1 to 4 are one latent
        end = min(index + shutter / 2, 4)
        distance = covered(shape, start, end)
        found = wide(index) > 0
        missed, beyond = (distance <= -1.5) & ~found, (distance >= 2.5) & found
        assert missed.sum() <= 0.005 * (distance <= 0).sum(), (index, missed.sum())
        assert beyond.sum() <= 0.02 * (distance <= 0).sum(), (index, beyond.sum())
        assert (found[frames[index] > 0]).all()


def test_frames_of_other_latents_change_nothing():
    frames = [(disc(time) <= 0).astype(np.float32) for time in range(6)]
    wide = widened(frames.__getitem__, 6, 1.0)
    np.testing.assert_array_equal(wide(0), frames[0])
    np.testing.assert_array_equal(wide(5), frames[5])
    assert (wide(4)[covered(disc, 4.2, 4.5) <= -1] == 0).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grays_and_still_masks_keep_their_values(dtype):
    rng = np.random.default_rng(0)
    still = np.zeros((HEIGHT, WIDTH), dtype)
    still[20:40, 30:70] = rng.random((20, 40)) * 250
    wide = widened(lambda _: still, 5, 1.0)
    assert wide(2).dtype == dtype
    np.testing.assert_array_equal(wide(2), still)
    moved = [np.roll(still, 8 * index, 1) for index in range(5)]
    found = widened(moved.__getitem__, 5, 1.0)(2)
    assert set(np.unique(found)) <= set(np.unique(still))


def test_without_a_shutter_nothing_is_read_twice():
    def read(index):
        return index

    assert widened(read, 5, 0) is read


def test_masks_that_come_and_go_are_themselves():
    frames = [np.zeros((HEIGHT, WIDTH), np.float32) for _ in range(5)]
    frames[2][10:20, 10:20] = 1
    wide = widened(frames.__getitem__, 5, 1.0)
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(wide(index), frame)
