# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.folders import make_job, noise_plate
from wan_blender.core import job as jobs
from wan_blender.core.mask_settings import Output, RegionSettings
from wan_blender.engine.frames.files import read_png
from wan_blender.engine.frames.masks import feather, matte
from wan_blender.engine.frames.region import plan_region
from wan_blender.engine.frames.seams import (
    FINE_SHARE,
    SeamMeter,
    add_grain,
    colour_offset,
    grain_level,
    ring_around,
    smoothed,
)
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
    assert report["max_diff_outside"] == 0
    x, y, w, h = report["size"]["box"]
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
        assert reports[name]["max_diff_outside"] == 0
    plain, matched = reports["plain"]["seam"], reports["matched"]["seam"]
    assert matched["colour_step"] < plain["colour_step"]
    assert matched["gradient_ratio"] < plain["gradient_ratio"]


def test_what_reaches_into_the_ring_does_not_colour_the_patch():
    """A dark thing over a third of the ring, next to a tint of the whole picture."""
    rng = np.random.default_rng(0)
    mask = np.zeros((96, 96), np.float32)
    mask[32:64, 32:64] = 1
    ring = ring_around(mask)
    plate = (0.2 + rng.normal(0, 0.05, (96, 96, 3))).astype(np.float32)
    decoded = plate - np.array([0.03, 0, -0.02], np.float32) + rng.normal(0, 0.02, (96, 96, 3))
    np.testing.assert_allclose(colour_offset(plate, decoded, ring), [0.03, 0, -0.02], atol=0.003)
    decoded[:, :34] = -0.6
    assert 0.3 < (ring[:, :34].sum() / ring.sum()) < 0.4
    np.testing.assert_allclose(colour_offset(plate, decoded, ring), [0.03, 0, -0.02], atol=0.02)
    assert colour_offset(plate, decoded, np.zeros_like(ring)) is None


def test_smoothing_keeps_order_and_averages_in_time():
    frames = [(np.full(1, i), np.array([float(i == 10)])) for i in range(21)]
    out = list(smoothed(iter(frames), 3))
    assert [int(p[0]) for p, _ in out] == list(range(21))
    values = np.array([v[0] for _, v in out])
    assert values.argmax() == 10
    assert (values[7:14] > 0).all()
    assert values[:7].max() == 0
    np.testing.assert_allclose(values[7:10], values[13:10:-1])
    assert [v for _, v in smoothed([(np.zeros(1), None)] * 4)] == [None] * 4


def test_grain_is_measured_and_added_alike():
    rng = np.random.default_rng(0)
    where = np.ones((128, 128), bool)
    grainy = rng.normal(0, 0.05, (128, 128, 3)).astype(np.float32)
    np.testing.assert_allclose(grain_level(grainy, where), 0.05, rtol=0.1)
    added = add_grain(np.zeros((128, 128, 3), np.float32), np.array([0.02, 0.04, 0.06]), 1)
    np.testing.assert_allclose(added.std((0, 1)), [0.02, 0.04, 0.06], rtol=0.05)
    ramp = np.linspace(0, 1, 128)[None, :, None].repeat(128, 0).repeat(3, 2).astype(np.float32)
    assert grain_level(ramp, where).max() < 1e-3
    assert 0 < FINE_SHARE < 1


def test_seam_meter_sees_a_step_and_an_invisible_edge():
    rng = np.random.default_rng(0)
    plate = np.clip(0.5 + rng.normal(0, 0.02, (64, 64, 3)), 0, 1)
    mask = np.zeros((64, 64))
    mask[20:44, 20:44] = 1
    same, step = SeamMeter(), SeamMeter()
    same.add(plate, plate, mask)
    step.add(plate, plate + 0.2 * mask[..., None], mask)
    assert same.report() == {"gradient_ratio": 1.0, "colour_step": 0.0}
    assert step.report()["gradient_ratio"] > 4
    assert step.report()["colour_step"] == pytest.approx(0.2, abs=1e-3)


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
