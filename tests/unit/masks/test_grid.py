# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest

from wan_blender.masks import grid as lg
from wan_blender.masks.reduce import to_latent


@pytest.mark.parametrize("size", [(1, 16, 16), (2, 17, 31), (10, 70, 90), (81, 8, 8)])
def test_odd_sizes_pad_to_whole_tokens_and_come_back(size):
    grid = lg.Grid(*size)
    assert (grid.padded_frames - 1) % 4 == 0
    assert grid.padded_height % 16 == 0
    assert grid.padded_width % 16 == 0
    latent = to_latent(np.ones(size, np.float32), grid)
    assert latent.shape == grid.latent_shape
    assert lg.footprint(latent, grid).shape == size
    assert (lg.footprint(latent, grid) == 1).all()


def test_footprint_covers_every_masked_pixel():
    rng = np.random.default_rng(0)
    mask = (rng.random((11, 40, 56)) > 0.99).astype(np.float32)
    grid = lg.Grid(11, 40, 56)
    assert (lg.footprint(to_latent(mask, grid), grid) >= mask).all()


@pytest.mark.parametrize("pixels", [0, 1, 3, 8, 50])
def test_grow_space_is_a_square_dilation(pixels):
    rng = np.random.default_rng(1)
    mask = (rng.random((2, 30, 40)) > 0.98).astype(np.float32) * rng.random((2, 30, 40))
    expected = np.zeros_like(mask)
    for y in range(30):
        for x in range(40):
            near = mask[:, max(0, y - pixels) : y + pixels + 1, max(0, x - pixels) : x + pixels + 1]
            expected[:, y, x] = near.max((1, 2))
    assert (lg.grow_space(mask, pixels) == expected).all()


def test_grow_time_extends_before_and_after():
    mask = np.zeros((12, 1, 1), np.float32)
    mask[5] = 1
    assert np.flatnonzero(lg.grow_time(mask, 2, 3)).tolist() == [3, 4, 5, 6, 7, 8]
    assert np.flatnonzero(lg.grow_time(mask, 0, 2)).tolist() == [5, 6, 7]


def test_negative_growth_shrinks():
    mask = np.zeros((12, 20, 20), np.float32)
    mask[3:9, 5:15, 5:15] = 1
    assert np.flatnonzero(lg.grow_time(mask, -1, -2)[:, 10, 10]).tolist() == [4, 5, 6]
    assert lg.grow_space(mask, -2)[4].sum() == 36


def test_token_snap_makes_tokens_uniform():
    latent = np.zeros((1, 4, 4), np.float32)
    latent[0, 1, 2] = 0.5
    assert lg.snap_to_tokens(latent)[0].tolist() == [
        [0, 0, 0.5, 0.5],
        [0, 0, 0.5, 0.5],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
