# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.folders import make_job, noise_plate
from wan_blender.core import job as jobs
from wan_blender.core.mask_settings import RegionSettings
from wan_blender.engine.frames.files import read_png
from wan_blender.engine.frames.region import plan_region
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path_factory.getbasetemp() / "tensors"))


TRAITS = open_model("", "cpu", "float32").traits


@settings(deadline=None)
@given(st.data())
def test_region_holds_the_mask_on_the_token_grid(data):
    width = data.draw(st.integers(16, 4096))
    height = data.draw(st.integers(16, 2160))
    x0 = data.draw(st.integers(0, width - 1))
    y0 = data.draw(st.integers(0, height - 1))
    x1 = data.draw(st.integers(x0 + 1, width))
    y1 = data.draw(st.integers(y0 + 1, height))
    region = plan_region(5, (width, height), (x0, y0, x1, y1), RegionSettings(), TRAITS)
    assert 0 <= region.x <= x0
    assert 0 <= region.y <= y0
    assert x1 <= region.x + region.width <= width
    assert y1 <= region.y + region.height <= height
    assert region.x % 16 == region.y % 16 == 0
    grid = region.grid
    assert grid.width <= region.width
    room = 32 * (grid.width + grid.height)  # of rounding to whole tokens
    assert grid.width * grid.height <= TRAITS.native_pixels + room


def test_small_mask_in_4k_keeps_every_pixel_of_its_surroundings():
    box = (1000, 700, 1200, 860)
    traits = replace(TRAITS, native_pixels=832 * 480)
    region = plan_region(81, (3840, 2160), box, RegionSettings(), traits)
    assert (region.width, region.height) == (region.grid.width, region.grid.height)
    assert region.width * region.height < 500 * 400


@settings(deadline=None)
@given(st.data())
def test_small_mask_shows_the_model_a_quarter_of_what_it_knows_or_the_canvas(data):
    width, height = data.draw(st.integers(64, 3840)), data.draw(st.integers(64, 2160))
    x0, y0 = data.draw(st.integers(0, width - 41)), data.draw(st.integers(0, height - 41))
    traits = replace(TRAITS, native_pixels=832 * 480)
    box = (x0, y0, x0 + 40, y0 + 40)
    region = plan_region(81, (width, height), box, RegionSettings(), traits)
    seen = region.grid.width * region.grid.height
    assert seen >= 832 * 480 / 4 or (region.width, region.height) == (width, height)
    assert region.grid.width <= region.width


def test_surroundings_of_a_small_mask_lie_around_it():
    region = plan_region(
        81, (1920, 1080), (940, 520, 980, 560), RegionSettings(),
        replace(TRAITS, native_pixels=832 * 480),
    )  # fmt: skip
    assert 832 * 480 / 4 <= region.width * region.height < 832 * 480 / 3
    left, right = 940 - region.x, region.x + region.width - 980
    above, below = 520 - region.y, region.y + region.height - 560
    assert max(left, right, above, below) - min(left, right, above, below) <= 32
    assert (region.x % 16, region.y % 16, region.width % 16, region.height % 16) == (0, 0, 0, 0)


def test_whole_frame_on_request_and_for_large_masks():
    whole = plan_region(5, (640, 360), (10, 10, 50, 50), RegionSettings(mode="whole"), TRAITS)
    assert (whole.x, whole.y, whole.width, whole.height) == (0, 0, 640, 360)
    large = plan_region(5, (640, 360), (10, 10, 620, 350), RegionSettings(), TRAITS)
    assert (large.width, large.height) == (640, 360)


@pytest.mark.parametrize("pixels", [0, 48 * 48, 160 * 160])
def test_cropped_and_scaled_patch_stays_exact_outside(tmp_path, pixels):
    plate = noise_plate(5, 160, 240)
    mask = np.zeros((5, 160, 240), np.uint16)
    for i in range(5):
        mask[i, 60:90, 100 + 2 * i : 130 + 2 * i] = 65535
    settings_ = {"region__pixels": pixels, "output__full_frames": True, "sampling__steps": 1}
    make_job(tmp_path, plate, mask, **settings_)
    report = generate(tmp_path, Watch(tmp_path))
    assert report.max_diff_outside == 0
    x, y, w, h = report.size.box
    assert w * h < 0.5 * 160 * 240
    assert x % 16 == y % 16 == 0
    for i in range(5):
        frame = read_png(tmp_path / "result" / "frames" / jobs.frame_name(i))
        assert (frame[mask[i] == 0] == plate[i][mask[i] == 0]).all()
        assert (frame[mask[i] > 0] != plate[i][mask[i] > 0]).mean() > 0.5


def test_colour_and_grain_match_leave_the_outside_exact_and_lessen_the_step(tmp_path):
    rng = np.random.default_rng(0)
    base = np.full((9, 64, 64, 3), (200, 120, 60)) + rng.normal(0, 6, (9, 64, 64, 3))
    plate = np.clip(base, 0, 255).astype(np.uint8)
    mask = np.zeros((9, 64, 64), np.uint16)
    mask[:, 24:40, 24:40] = 65535
    reports = {}
    for name, match in (("plain", False), ("matched", True)):
        folder = tmp_path / name
        make_job(
            folder, plate, mask, output__colour_match=match, output__grain_match=match,
            sampling__steps=1,
        )  # fmt: skip
        reports[name] = generate(folder, Watch(folder))
        assert reports[name].max_diff_outside == 0
    plain, matched = reports["plain"].seam, reports["matched"].seam
    assert matched.colour_step < plain.colour_step
    assert matched.gradient_ratio < plain.gradient_ratio
