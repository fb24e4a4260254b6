# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest

from wan_blender.core.mask_settings import REDUCTIONS
from wan_blender.masks import grid as lg
from wan_blender.masks.reduce import to_latent


@pytest.mark.parametrize("frame", range(81))
def test_flash_lands_in_its_own_latent(frame):
    mask = np.zeros((81, 16, 16), np.float32)
    mask[frame] = 1
    latent = to_latent(mask, lg.Grid(81, 16, 16))
    assert latent.shape == (21, 2, 2)
    owner = 0 if frame == 0 else (frame + 3) // 4
    assert (latent[owner] == 1).all()
    assert np.delete(latent, owner, 0).max() == 0


@pytest.mark.parametrize("phase", range(8))
@pytest.mark.parametrize("axis", [1, 2])
def test_one_pixel_stripe_survives_every_phase(phase, axis):
    mask = np.zeros((1, 32, 32), np.float32)
    np.moveaxis(mask, axis, 0)[8 + phase] = 1
    latent = to_latent(mask, lg.Grid(1, 32, 32))
    line = np.moveaxis(latent, axis, 0)
    assert (line[1] == 1).all()
    assert np.delete(line, 1, 0).max() == 0


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_masks_are_fixed_points(reduction, value):
    mask = np.full((13, 32, 48), value, np.float32)
    assert (to_latent(mask, lg.Grid(13, 32, 48), reduction) == value).all()


def _taps(reduction, frames, t):
    """Weight of every frame in every latent, from one-frame pulses."""
    grid = lg.Grid(frames, 16, 16)
    pulses = np.eye(frames, dtype=np.float64)[:, :, None, None] * np.ones((1, 1, 16, 16))
    return np.stack([to_latent(p, grid, reduction)[:, 0, 0] for p in pulses], 1)


@pytest.mark.parametrize(
    ("frames", "latent", "expected"),
    [
        (81, 0, {1: 0.571, 2: 0.429}),
        (81, 1, {5: 0.714, 6: 0.286}),
        (81, 3, {13: 1.0}),
        (81, 20, {78: 0.429, 79: 0.571}),
        (121, 3, {13: 0.839, 14: 0.161}),
        (49, 2, {8: 0.077, 9: 0.923}),
        (17, 0, {1: 0.8, 2: 0.2}),
        (17, 4, {14: 0.2, 15: 0.8}),
    ],
)
def test_comfy_trilinear_taps_equal_the_table(frames, latent, expected):
    weights = _taps("comfy_trilinear", frames, 1 + (frames - 1) // 4)[latent]
    assert {i: round(w, 3) for i, w in enumerate(weights) if w > 1e-9} == expected


@pytest.mark.parametrize(("frames", "unread"), [(81, 42), (121, 60), (49, 24), (17, 8)])
def test_comfy_trilinear_ignores_as_many_frames_as_comfy(frames, unread):
    weights = _taps("comfy_trilinear", frames, 1 + (frames - 1) // 4)
    assert int((weights.max(0) < 1e-9).sum()) == unread


def test_vace_nearest_exact_picks_the_frames_of_the_table():
    weights = _taps("vace_nearest_exact", 81, 21)
    assert weights.argmax(1).tolist() == [
        1, 5, 9, 13, 17, 21, 25, 28, 32, 36, 40, 44, 48, 52, 55, 59, 63, 67, 71, 75, 79,
    ]  # fmt: skip


def test_wan2gp_nearest_picks_the_frames_of_the_table():
    weights = _taps("wan2gp_nearest", 81, 21)
    assert weights.argmax(1).tolist() == [0, *range(0, 80, 4)]


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [("max", 1.0), ("min", 0.0), ("mean", 0.25), ("first", 1.0), ("last", 0.0)],
)
def test_reductions_of_a_group_with_its_first_frame_masked(reduction, expected):
    mask = np.zeros((5, 16, 16), np.float32)
    mask[1] = 1
    assert (to_latent(mask, lg.Grid(5, 16, 16), reduction)[1] == expected).all()


def test_soft_values_are_kept():
    mask = np.full((5, 16, 16), 0.37, np.float32)
    assert np.allclose(to_latent(mask, lg.Grid(5, 16, 16)), 0.37)


def test_sixteen_pixel_cells_reduce_to_the_5b_grid():
    grid = lg.Grid(9, 64, 96, cell=16)
    mask = np.zeros((9, 64, 96), np.float32)
    mask[4, 17, 33] = 1
    latent = to_latent(mask, grid)
    assert latent.shape == (3, 4, 6)
    assert np.argwhere(latent).tolist() == [[1, 1, 2]]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("size", [(50, 70), (56, 88), (49, 65)])
def test_padding_goes_with_the_mask_at_the_edge(reduction, size):
    """A mask that leaves the canvas below and on the right: no cell there is kept, for the
    picture is padded with what the mask covers."""
    mask = np.zeros((5, *size), np.float32)
    mask[:, 20:, 30:] = 1
    latent = to_latent(mask, lg.Grid(5, *size), reduction)
    assert (latent[:, 3:, 4:] == 1).all()
    mask = np.zeros((5, *size), np.float32)
    mask[:, 20:40, 30:60] = 1
    assert to_latent(mask, lg.Grid(5, *size), reduction)[:, 6:].max() == 0
