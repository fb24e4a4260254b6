# SPDX-License-Identifier: GPL-3.0-or-later
"""What the model is shown of a picture: which map, in which frame, and what is said of it."""

import numpy as np
import pytest

from tools.hygiene_set.rooms import ROOMS
from wan_blender.core.errors import InvalidJob, LengthMismatch, SizeMismatch, WrongModel
from wan_blender.core.job import BLUR_MATTE, RADIUS, START_RADIUS, frame_name
from wan_blender.core.job_pictures import PICTURES, START
from wan_blender.core.settings import Hygiene, Job, Shot
from wan_blender.engine.frames.files import write_png
from wan_blender.engine.frames.region import Region, whole_frame
from wan_blender.engine.hygiene import pictures
from wan_blender.engine.hygiene.automatic import find_radius
from wan_blender.engine.hygiene.treatment import Treatment, low_pass
from wan_blender.hygiene import blur
from wan_blender.hygiene.matrix import analyse
from wan_blender.hygiene.sinks import find_sinks
from wan_blender.masks.grid import Grid

WHOLE = whole_frame(1, 48, 64)


# --- the treatment of a run ----------------------------------------------------------------------


def frame(height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, (height, width, 3)).astype(np.float32)


def radii(value: float = 1.0, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width), value, np.float32)


def painted(value: float = 1.0, height: int = 48, width: int = 64):
    """One map for every frame of the shot."""
    return lambda index: radii(value, height, width)


@pytest.mark.parametrize(
    ("mode", "phases"),
    [
        ("off", ["original"] * 10),
        ("soft", ["soft"] * 10),
        ("scheduled", ["original", "low", "low"] + ["original"] * 7),
        ("both", ["soft", "low", "low"] + ["soft"] * 7),
    ],
)
def test_phase_follows_mode_and_interval(mode, phases):
    treatment = Treatment(Hygiene(mode=mode, start=0.1, end=0.3), painted())
    assert treatment.phases(10) == phases


def test_original_phase_shows_the_picture_itself():
    picture = frame()
    assert Treatment(Hygiene(), painted()).see("original", picture) is picture


def test_soft_phase_blurs_every_frame_by_its_own_map():
    picture = frame()
    treatment = Treatment(Hygiene(mode="soft"), lambda index: radii(0.5 * index), moves=True)
    for index in (0, 1, 3):
        expected = 2 * blur.soften((picture + 1) / 2, radii(0.5 * index)) - 1
        np.testing.assert_array_equal(treatment.see("soft", picture, index), expected)


@pytest.mark.parametrize("clip", [None, painted(0.0)])
def test_pictures_without_a_map_are_softened_by_measure_within_the_limit(clip):
    room = 2 * ROOMS["bedroom"]().rgb - 1
    treatment = Treatment(Hygiene(mode="both", strength=2), clip, seed=7, others=True)
    assert treatment.phases(10) == ["low"] * 2 + ["soft"] * 8
    np.testing.assert_allclose(treatment.see("soft", frame()), frame(), atol=1e-6)
    seen = treatment.see("soft", room, "end")
    np.testing.assert_array_equal(treatment.see("low", room, "end"), low_pass(seen, 0.4))
    picture, treated = ((p + 1) / 2 for p in (room, seen))
    matrix = analyse(picture)
    regions = blur.treat(picture, matrix, find_sinks(picture, matrix), 7)
    expected = blur.soften(picture, blur.radius_map(regions, picture.shape[:2]))
    np.testing.assert_allclose(treated, expected, atol=1e-5)
    said = treatment.describe(frame(), 0, 4).by_measure["end"]
    assert said.score_blurred < 0.9 * said.score
    assert said.largest_radius == pytest.approx(max(r.radius for r in regions), abs=1e-3)


def test_pictures_without_a_map_are_left_where_nothing_is_soft():
    treatment = Treatment(Hygiene(mode="scheduled"), painted(), others=True)
    np.testing.assert_array_equal(treatment.see("low", frame(), "end"), low_pass(frame(), 0.4))
    assert treatment.describe(frame(), 0, 4).by_measure == {}


@pytest.mark.parametrize("mode", ["scheduled", "both"])
def test_low_pass_within_the_map_leaves_the_rest_alone(mode):
    picture, radius = frame(), radii(0.0)
    radius[:24] = 0.5
    settings = Hygiene(mode=mode, low_pass_region="map")
    treatment = Treatment(settings, lambda index: radius)
    seen = treatment.see("low", picture)
    np.testing.assert_allclose(seen[24:], picture[24:], atol=1e-6)
    soft = treatment.see("soft", picture)
    np.testing.assert_allclose(seen[:24], low_pass(soft, 0.4)[:24], atol=1e-6)
    assert (np.abs(soft - picture).max() < 1e-6) == (mode == "scheduled")
    said = treatment.describe(picture, 0, 10)
    assert said.low_passed == 0.5
    assert (said.blurred is not None) == (mode == "both")


def test_low_pass_within_the_map_finds_the_regions_of_other_pictures_by_measure():
    room = 2 * ROOMS["bedroom"]().rgb - 1
    settings = Hygiene(mode="scheduled", low_pass_region="map")
    treatment = Treatment(settings, others=True)
    np.testing.assert_array_equal(treatment.see("low", frame()), frame())
    changed = (treatment.see("low", room, "end") != room).any(-1)
    radius, _ = find_radius((room + 1) / 2, settings, 0)
    np.testing.assert_array_equal(changed & (radius == 0), False)
    assert changed.mean() > 0.01
    said = treatment.describe(frame(), 0, 10)
    assert said.by_measure["end"].low_passed == pytest.approx(changed.mean(), abs=0.02)
    assert "no blur map" in said.notes[0]


def test_strength_scales_the_radii_up_to_the_limit():
    picture = frame()
    half = Treatment(Hygiene(mode="soft", strength=0.5), painted()).see("soft", picture)
    same = Treatment(Hygiene(mode="soft"), painted(0.5)).see("soft", picture)
    np.testing.assert_array_equal(half, same)
    limit = Treatment(Hygiene(mode="soft", strength=2), painted(blur.MAX_RADIUS)).see(
        "soft", picture
    )
    full = Treatment(Hygiene(mode="soft"), painted(blur.MAX_RADIUS)).see("soft", picture)
    np.testing.assert_array_equal(limit, full)


def test_low_phase_of_both_is_the_low_passed_soft_picture():
    picture, treatment = frame(), Treatment(Hygiene(mode="both"), painted())
    expected = low_pass(treatment.see("soft", picture), 0.4)
    np.testing.assert_array_equal(treatment.see("low", picture), expected)


def test_low_pass_keeps_slow_detail_and_drops_fast_detail():
    x = np.arange(256)
    for period, kept in ((4, (0.0, 0.35)), (64, (0.95, 1.01))):
        wave = np.sin(2 * np.pi * x / period).astype(np.float32)
        picture = np.broadcast_to(wave[None, :, None], (64, 256, 3))
        assert kept[0] <= low_pass(picture, 0.4)[:, 16:-16].std() / wave.std() <= kept[1]


def test_a_map_of_another_size_is_refused_with_both_sizes():
    with pytest.raises(SizeMismatch, match=r"10 x 20.*64 x 48"):
        Treatment(Hygiene(mode="soft"), painted(1.0, 20, 10)).see("soft", frame())


def test_job_folder_gives_the_treatment_back(tmp_path):
    radius = np.linspace(0, blur.MAX_RADIUS, 48 * 64, dtype=np.float32).reshape(48, 64)
    pictures.write_radius(tmp_path / RADIUS, radius)
    job = Job(Shot(width=64, height=48, frame_count=1), hygiene=Hygiene(mode="soft"))
    read = pictures.read_treatment(tmp_path, job, WHOLE, "i2v")
    np.testing.assert_allclose(read.radius(0), radius, atol=1e-4)


def test_followed_matte_joins_the_painted_map_on_each_frame(tmp_path):
    pictures.write_radius(tmp_path / RADIUS, radii(0.5))
    for index in range(3):
        pictures.write_picture(tmp_path / BLUR_MATTE / frame_name(index), radii(0.5 * index))
    hygiene = Hygiene(mode="soft", matte_blur_px=0.8)
    job = Job(Shot(width=64, height=48, frame_count=3), hygiene=hygiene)
    read = pictures.read_treatment(tmp_path, job, WHOLE, "vace")
    assert read.moves
    for index, expected in enumerate((0.5, 0.5, 0.8)):
        np.testing.assert_allclose(read.radius(index), expected, atol=1e-4)
    job.shot.frame_count = 5
    with pytest.raises(LengthMismatch, match=r"3 .* 5"):
        pictures.read_treatment(tmp_path, job, WHOLE, "vace")


def test_one_map_serves_every_frame(tmp_path):
    pictures.write_picture(tmp_path / BLUR_MATTE / frame_name(0), radii(0.7))
    job = Job(Shot(width=64, height=48, frame_count=3), hygiene=Hygiene(mode="soft"))
    read = pictures.read_treatment(tmp_path, job, WHOLE, "vace")
    assert not read.moves
    np.testing.assert_allclose(read.radius(2), 0.7, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "region", "scale"),
    [
        ((64, 48), Region(32, 0, 32, 48, Grid(1, 48, 32, 8, 2)), 2),  # as the shot: cropped like it
        ((128, 96), WHOLE, 1),
        ((32, 48), WHOLE, 4),  # fills the width
    ],
)
def test_start_picture_has_its_own_map_fitted_as_it_is(tmp_path, size, region, scale):
    """``scale``: pixels of the model for one of the map, which has half the picture's size."""
    width, height = size
    write_png(tmp_path / PICTURES[START], np.zeros((height, width, 3), np.uint8))
    painted = np.zeros((height // 2, width // 2))
    painted[:, width // 4 :] = 0.25
    pictures.write_picture(tmp_path / START_RADIUS, painted)
    job = Job(Shot(width=64, height=48, frame_count=1), hygiene=Hygiene(mode="soft"))
    read = pictures.read_treatment(tmp_path, job, region, "i2v")
    height, width = region.grid.height, region.grid.width
    np.testing.assert_allclose(read.start[:, -16:], 0.25 * blur.MAX_RADIUS * scale, rtol=1e-3)
    assert read.start[:, :8].any() == (region is not WHOLE)
    picture = frame(height, width)
    assert (read.see("soft", picture, START) != picture).any()
    assert read.see("soft", picture, 0) is picture
    assert read.describe(picture, START, 8).blurred > 0


def test_map_is_cut_to_what_the_model_sees_and_scaled_with_it(tmp_path):
    """A picture shown at half its size is blurred by half as many pixels."""
    radius = np.zeros((48, 64), np.float32)
    radius[16:32, 32:64] = 1.5
    pictures.write_radius(tmp_path / RADIUS, radius)
    region = Region(32, 16, 32, 32, Grid(1, 16, 16, 8, 2))
    job = Job(Shot(width=64, height=48, frame_count=1), hygiene=Hygiene(mode="soft"))
    read = pictures.read_treatment(tmp_path, job, region, "vace").radius(0)
    assert read.shape == (16, 16)
    np.testing.assert_allclose(read[:8], 0.75, atol=1e-3)
    np.testing.assert_allclose(read[8:], 0, atol=1e-3)


def test_soft_mode_without_a_map_says_what_is_missing(tmp_path):
    shot = Shot(width=64, height=48)
    with pytest.raises(InvalidJob, match=RADIUS):
        pictures.read_treatment(tmp_path, Job(shot, hygiene=Hygiene(mode="soft")), WHOLE, "i2v")
    limited = Job(shot, hygiene=Hygiene(mode="both", low_pass_region="map"))
    with pytest.raises(InvalidJob, match=r"both.*would change nothing"):
        pictures.read_treatment(tmp_path, limited, WHOLE, "i2v")
    scheduled = Job(shot, hygiene=Hygiene(mode="scheduled"))
    assert pictures.read_treatment(tmp_path, scheduled, WHOLE, "i2v").phase_at(0.0) == "low"


@pytest.mark.parametrize("mode", ["soft", "scheduled", "both"])
def test_a_model_that_is_shown_no_picture_is_refused(tmp_path, mode):
    pictures.write_radius(tmp_path / RADIUS, radii())
    job = Job(Shot(width=64, height=48), hygiene=Hygiene(mode=mode))
    with pytest.raises(WrongModel, match="text-to-video"):
        pictures.read_treatment(tmp_path, job, WHOLE, "t2v")


def test_report_says_what_was_blurred_and_low_passed():
    radius = radii(0.0)
    radius[:24] = 1.0
    settings = Hygiene(mode="both", start=0.25, end=0.5, strength=0.5)
    treatment = Treatment(settings, lambda index: radius)
    said = treatment.describe(frame(), 0, 8)
    assert said.mode == "both"
    assert said.blurred == 0.5
    assert said.largest_radius == 0.5
    assert said.score_blurred < said.score
    assert said.low_passed_steps == (3, 4)
    assert said.notes == ()


@pytest.mark.parametrize(("strength", "warned"), [(0.2, False), (2.0, True)])
def test_report_names_what_the_run_made_ambiguous(strength, warned):
    """As strong as the run blurs, not as it was painted."""
    room = ROOMS["bedroom"]().rgb
    settings = Hygiene(mode="soft", strength=strength)
    treatment = Treatment(settings, painted(1.25, *room.shape[:2]))
    notes = treatment.describe(2 * room - 1, 0, 8).notes
    assert bool(notes) == warned
    if warned:
        assert "of its shape" in notes[0]
        assert len(notes) <= 4


def test_report_notes_what_had_no_effect():
    scheduled = Treatment(Hygiene(mode="both", start=0.5, end=0.5)).describe(frame(), 0, 8)
    assert scheduled.low_passed_steps is None
    assert len(scheduled.notes) == 2
