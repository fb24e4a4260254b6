# SPDX-License-Identifier: GPL-3.0-or-later
"""Patches for plates that have alpha of their own."""

import numpy as np
import pytest

from wan_blender.engine.frames.composite import difference_outside, over, patch
from wan_blender.engine.frames.files import to_model

RNG = np.random.default_rng(0)


def plate_of(alpha: np.ndarray) -> np.ndarray:
    picture = RNG.integers(0, 256, (*alpha.shape, 3))
    return np.dstack([picture, alpha]).astype(np.uint8)


def laid_over(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Premultiplied float RGBA of two straight 8-bit pictures."""
    low, high = (np.dstack([p[..., :3] * p[..., 3:] / 255, p[..., 3]]) for p in (below, above))
    return high + (1 - above[..., 3:] / 255) * low


@pytest.fixture
def matte() -> np.ndarray:
    matte = np.zeros((6, 8), np.float32)
    matte[1:5, 1:7], matte[2, 2] = 1, 0.5
    return matte


def test_clear_pixels_stay_clear_under_a_patch_that_keeps_alpha(matte):
    plate = plate_of(RNG.choice([0, 255], matte.shape))
    same = to_model(plate[..., :3])
    kept = laid_over(plate, patch(plate, same, matte, "keep"))
    np.testing.assert_allclose(kept, laid_over(plate, 0 * plate), atol=0.51)
    filled = laid_over(plate, patch(plate, same, matte))
    assert (filled[..., 3][matte == 1] == 255).all()


@pytest.mark.parametrize("frame", [patch, over])
def test_whole_frames_of_the_plates_own_picture_are_the_plate(matte, frame):
    plate = plate_of(RNG.integers(0, 256, matte.shape))
    np.testing.assert_array_equal(frame(plate, to_model(plate[..., :3]), matte, "replace"), plate)


def test_whole_frames_change_inside_the_matte_alone_and_keep_its_alpha(matte):
    plate = plate_of(RNG.integers(0, 256, matte.shape))
    whole = patch(plate, to_model(255 - plate[..., :3]), matte, "replace")
    np.testing.assert_array_equal(whole[..., 3], plate[..., 3])
    np.testing.assert_array_equal(whole[matte == 0], plate[matte == 0])
    np.testing.assert_array_equal(whole[matte == 1][:, :3], 255 - plate[matte == 1][:, :3])


def test_opaque_plates_know_no_difference(matte):
    plate = RNG.integers(0, 256, (*matte.shape, 3)).astype(np.uint8)
    wanted = patch(plate, to_model(255 - plate), matte)
    for where_clear in ("keep", "replace"):
        got = patch(plate, to_model(255 - plate), matte, where_clear)
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_patch_over_the_plate_is_the_full_frame_also_where_alpha_rounds_to_nothing(dtype):
    peak = np.iinfo(dtype).max
    plate = RNG.integers(0, peak, (8, 9, 3), dtype, endpoint=True)
    generated = RNG.uniform(-1, 1, plate.shape).astype(np.float32)
    alpha = np.linspace(0, 2 / peak, 72, dtype=np.float32).reshape(8, 9)
    rgba, frame = patch(plate, generated, alpha), over(plate, generated, alpha)
    assert (frame[rgba[..., 3] == 0] == plate[rgba[..., 3] == 0]).all()
    shown = rgba[..., 3:] / peak
    laid = np.rint(shown * rgba[..., :3] + (1 - shown) * plate)
    np.testing.assert_array_equal(laid, frame)
    assert difference_outside(plate, alpha, [rgba, frame]) == 0
