# SPDX-License-Identifier: GPL-3.0-or-later
"""Bands of detail: what comes in as a picture, and what adds up to it."""

import numpy as np
import pytest

from wan_blender.core.errors import UnsupportedClip
from wan_blender.hygiene import bands


def test_bands_and_base_add_up_to_the_picture():
    plane = np.random.default_rng(0).random((37, 53), np.float32)
    parts, base = bands.split(plane, 4)
    np.testing.assert_allclose(sum(parts) + base, plane, atol=1e-6)


def test_band_noise_gain_is_that_of_white_noise():
    noise = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
    parts, _ = bands.split(noise, 4)
    np.testing.assert_allclose([p.std() for p in parts], bands.NOISE_GAIN, rtol=0.03)


@pytest.mark.parametrize(
    ("image", "value"),
    [
        (np.full((4, 6), 128, np.uint8), 128 / 255),
        (np.full((4, 6, 1), 0.25, np.float32), 0.25),
        (np.full((4, 6, 3), 65535, np.uint16), 1.0),
        (np.full((4, 6, 2), 0.5, np.float64), 0.5),
        (np.dstack([np.ones((4, 6, 3)), np.zeros((4, 6))]), 0.5),
        (np.full((4, 6, 3), 7.0, np.float32), 1.0),
    ],
)
def test_gray_alpha_deep_and_bright_pictures_become_rgb(image, value):
    rgb = bands.to_rgb(image)
    assert rgb.shape == (4, 6, 3)
    assert rgb.dtype == np.float32
    np.testing.assert_allclose(rgb, value, atol=1e-6)


@pytest.mark.parametrize("image", [np.zeros((0, 4, 3)), np.zeros(5), np.zeros((2, 2, 5))])
def test_what_is_no_picture_is_refused_with_its_shape(image):
    with pytest.raises(UnsupportedClip, match=str(image.shape[0])):
        bands.to_rgb(image)


def test_pixels_that_are_no_numbers_are_refused_with_their_count():
    image = np.zeros((4, 4, 3))
    image[1, 2, 0] = np.nan
    with pytest.raises(UnsupportedClip, match="1 pixels"):
        bands.to_rgb(image)


@pytest.mark.parametrize("size", [(832, 480), (16, 9), (1, 1), (1700, 1000)])
def test_resize_keeps_the_mean_and_a_constant(size):
    picture = np.random.default_rng(0).random((480, 832, 3)).astype(np.float32)
    out = bands.resize(picture, *size)
    assert out.shape == (size[1], size[0], 3)
    assert out.mean() == pytest.approx(picture.mean(), abs=0.002)
    flat = bands.resize(np.full((1080, 1920, 3), 0.3, np.float32), *size)
    np.testing.assert_allclose(flat, 0.3, atol=1e-5)


def test_an_8k_picture_is_reduced_without_aliasing():
    stripes = (np.arange(7680) % 2).astype(np.float32)
    picture = np.broadcast_to(stripes[None, :, None], (4320, 7680, 1))
    small = bands.resize(picture, 832, 480)
    np.testing.assert_allclose(small[:, 2:-2], 0.5, atol=0.05)
