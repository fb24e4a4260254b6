# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge of a matte: how it is softened, and where."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.folders import make_job, moving_square, noise_plate
from wan_blender.core import job as jobs
from wan_blender.core.mask_settings import Output
from wan_blender.engine.frames.files import ShotFrames
from wan_blender.engine.frames.masks import feather, matte

PIXELS = st.floats(0.2, 30)


@settings(deadline=None)
@given(PIXELS, st.integers(1, 12), st.booleans())
def test_feather_covers_the_middle_of_every_thin_mask(pixels, thickness, soft):
    mask = np.zeros((64, 64), np.float32)
    mask[20 : 20 + thickness, 4:60] = 0.5 if soft else 1
    mask[40, 40] = 1
    alpha = matte(mask, mask, Output(feather_px=pixels))
    assert (alpha[mask == 0] == 0).all()
    assert (alpha[mask > 0] > 0).all()
    assert (alpha[20 : 20 + thickness].max(0)[20:44] == mask[20].max()).all()
    assert alpha[40, 40] == 1


@settings(deadline=None)
@given(PIXELS)
def test_feather_rises_evenly_over_its_pixels_where_there_is_room(pixels):
    inside = np.zeros((100, 100), bool)
    inside[10:90, 10:90] = True
    for edge in (feather(inside, pixels)[50, 10:50], feather(inside, pixels)[10:50, 50]):
        rise = np.minimum(np.arange(1, 41) / (pixels + 1), 1)
        np.testing.assert_allclose(edge, rise, atol=1e-5)
    corner = feather(inside, pixels)[10:14, 10:14]
    assert corner.max() <= 4 / (pixels + 1) + 1e-5  # no brighter than the edges beside it


def test_hair_keeps_its_cover_beside_a_body_that_is_feathered():
    inside = np.zeros((64, 64), bool)
    inside[10:54, 4:34] = True
    inside[32, 34:60] = True
    alpha = feather(inside, 4)
    assert alpha[32, 40:60].min() == 1
    assert alpha[20, 33] == pytest.approx(1 / 5)


def test_small_feather_is_on_unless_it_is_turned_off():
    mask = np.zeros((16, 16), np.float32)
    mask[4:12, 4:12] = 1
    assert matte(mask, mask, Output())[8, 3:6].tolist() == [0, 0.5, 1]
    assert (matte(mask, mask, Output(feather_px=0)) == mask).all()


def test_shutter_widens_the_mask_of_sampler_and_patch(tmp_path):
    mask = moving_square(5, 48, 96, 12, step=12)
    make_job(tmp_path, noise_plate(5, 48, 96), mask, mask__shutter=1.0)
    job = jobs.read(tmp_path)
    wide, drawn = ShotFrames(tmp_path, job), [frame / 65535 for frame in mask]
    np.testing.assert_array_equal(wide.mask(0), drawn[0])  # a latent of its own
    for index in range(1, 5):
        found = wide.mask(index)
        x = [8 + 12 * index - 6 * (index > 1), 20 + 12 * index + 6 * (index < 4)]
        expected = np.zeros_like(found)
        expected[16:28, x[0] : x[1]] = 1
        np.testing.assert_array_equal(found, expected)
    left_out = replace(job, mask=replace(job.mask, frames="1-3"))
    assert not ShotFrames(tmp_path, left_out).mask(3).any()
    np.testing.assert_array_equal(
        ShotFrames(tmp_path, left_out).mask(2)[16:28].any(0).nonzero()[0], np.arange(26, 44)
    )
