# SPDX-License-Identifier: GPL-3.0-or-later
"""Blur that is light: exact where nothing is blurred, just enough where it is, never ambiguous."""

import functools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tools.hygiene_set import scenes
from tools.hygiene_set.rooms import ROOMS
from wan_blender.core.errors import InvalidJob, LengthMismatch, SizeMismatch, WrongModel
from wan_blender.core.job import BLUR_MATTE, RADIUS, START_RADIUS, frame_name
from wan_blender.core.job_pictures import PICTURES, START
from wan_blender.core.settings import Hygiene, Job, Shot
from wan_blender.engine.frames.files import write_png
from wan_blender.engine.frames.region import Region, whole_frame
from wan_blender.engine.hygiene import pictures
from wan_blender.engine.hygiene.automatic import find_radius
from wan_blender.engine.hygiene.faces import find_faces
from wan_blender.engine.hygiene.treatment import Treatment, low_pass
from wan_blender.hygiene import blur
from wan_blender.hygiene.bands import luminance
from wan_blender.hygiene.matrix import analyse
from wan_blender.hygiene.sinks import find_sinks
from wan_blender.masks.grid import Grid

SEEDS = range(3000, 3012)
WHOLE = whole_frame(1, 48, 64)


@functools.cache
def treated(seed: int):
    picture = scenes.labelled(seed)
    matrix = analyse(picture.rgb)
    regions = blur.treat(picture.rgb, matrix, find_sinks(picture.rgb, matrix), seed)
    radius = blur.radius_map(regions, picture.rgb.shape[:2])
    return picture, matrix, regions, radius, blur.soften(picture.rgb, radius)


def test_soften_is_exact_where_the_radius_is_zero():
    picture = ROOMS["portrait"]().rgb
    radius = np.zeros(picture.shape[:2], np.float32)
    assert blur.soften(picture, radius) is picture
    radius[100:200, 300:400] = 1.5
    out = blur.soften(picture, radius)
    changed = (out != picture).any(-1)
    assert changed[100:200, 300:400].mean() > 0.9
    assert not changed[radius == 0].any()


@pytest.mark.parametrize(("sigma", "off"), [(0.5, 0.55), (1.0, 0.25), (2.0, 0.25)])
def test_soften_is_near_a_gaussian_of_that_radius(sigma, off):
    rng = np.random.default_rng(0)
    spectrum = 1 / np.maximum(
        np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256))), 0.01
    )
    picture = np.fft.ifft2(np.fft.fft2(rng.normal(size=(256, 256))) * spectrum).real
    picture = (picture / picture.std()).astype(np.float32)  # 1/f, as photographs are
    ours = blur.soften(picture, np.full(picture.shape, sigma, np.float32))
    gaussian = cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    assert np.std(ours - gaussian) < off * np.std(picture - gaussian)


def test_more_radius_leaves_less_detail():
    plane = ROOMS["kitchen"]().rgb.mean(-1)
    left = []
    for radius in (0.0, 0.5, 1.0, 2.0):
        blurred = blur.soften(plane, np.full(plane.shape, radius, np.float32))
        left.append(np.std(blurred - cv2.blur(blurred, (3, 3))))
    assert left == sorted(left, reverse=True)


def test_treatment_brings_sinks_to_the_level_of_their_surroundings():
    regions = [region for seed in SEEDS for region in treated(seed)[2]]
    assert len(regions) > 15
    for region in regions:
        assert region.after <= 1.021 * region.target or region.limited
    assert np.mean([region.limited for region in regions]) < 0.3


def test_treatment_is_just_enough():
    """A tenth less radius would leave more than the target: nothing is blurred for nothing."""
    for region in (r for seed in SEEDS for r in treated(seed)[2] if r.radius and not r.limited):
        assert region.after > 0.9 * region.target


def test_treatment_keeps_the_shape_of_every_sink():
    for region in (r for seed in SEEDS for r in treated(seed)[2]):
        assert region.loss <= blur.AMBIGUITY_LIMIT


def test_treatment_dims_the_view_where_sinks_are():
    before, after = [], []
    for seed in SEEDS:
        _, matrix, _, radius, out = treated(seed)
        where = radius > 0.3
        before.append(matrix.glow[where].mean())
        after.append(analyse(out).glow[where].mean())
    assert np.mean(after) < 0.5 * np.mean(before)


def test_uniform_textures_stay_untouched():
    total = changed = 0
    for seed in SEEDS:
        picture, _, _, _, out = treated(seed)
        sinks = np.any([r.mask for r in picture.regions if r.is_sink], axis=0)
        around = cv2.dilate(sinks.astype(np.uint8), np.ones((41, 41))) > 0
        for region in (r for r in picture.regions if not r.is_sink):
            mask = region.mask & ~around
            total += mask.sum()
            changed += (out != picture.rgb).any(-1)[mask].sum()
    assert changed / total < 0.005


def test_the_limit_stops_the_blur_and_says_which_region(monkeypatch):
    monkeypatch.setattr(blur, "AMBIGUITY_LIMIT", 0.01)
    picture = ROOMS["kitchen"]().rgb
    matrix = analyse(picture)
    regions = blur.treat(picture, matrix, find_sinks(picture, matrix))
    limited = [r for r in regions if r.limited]
    assert limited
    for region in limited:
        assert region.loss <= 0.02
        assert str(region.sink.box[0]) in region.warning()


@pytest.mark.parametrize("name", ["bedroom", "portrait", "kitchen"])
def test_too_much_blur_is_warned_of_and_just_enough_is_not(name):
    picture = ROOMS[name]().rgb
    matrix, plane = analyse(picture), luminance(picture)
    sinks = find_sinks(picture, matrix)
    enough = blur.radius_map(blur.treat(picture, matrix, sinks), plane.shape)
    most = np.full(plane.shape, blur.MAX_RADIUS, np.float32)

    def warnings(radius: np.ndarray) -> list[str]:
        after = blur.soften(plane, radius)
        return [blur.ambiguity_warning(s, blur.ambiguity(plane, after, s)) for s in sinks]

    assert not any(warnings(0 * most))
    assert not any(warnings(enough))
    for sink, warning in zip(sinks, warnings(most), strict=True):
        if max(sink.box[2:]) <= 32:
            assert f"at {sink.box[0]}, {sink.box[1]} has lost" in warning


@pytest.mark.parametrize("period", [8, 12])
def test_an_even_print_has_no_shape_of_its_own_to_lose(period):
    """Large checks whose mean is that of the wall: nothing is left of them above 16 px."""
    picture = np.full((480, 832, 3), 0.5, np.float32)
    waves = [np.sin(2 * np.pi * np.arange(n) / period) for n in (220, 320)]
    picture[100:320, 200:520] += 0.3 * np.sign(np.outer(*waves))[..., None].astype(np.float32)
    picture = cv2.GaussianBlur(picture, (0, 0), 0.5)
    matrix = analyse(picture)
    sink = find_sinks(picture, matrix)[0]
    (region,) = blur.treat(picture, matrix, [sink])
    assert not region.limited
    assert region.after == pytest.approx(region.target, rel=0.05)
    assert region.before > 2 * region.target


def test_a_protected_sink_is_treated_more_gently():
    picture = ROOMS["portrait"]().rgb
    matrix = analyse(picture)
    for faces in ([], [(330, 60, 170, 220)]):
        regions = blur.treat(picture, matrix, find_sinks(picture, matrix, faces))
        teeth = next(r for r in regions if 380 < r.sink.box[0] < 400)
        assert teeth.sink.protected == bool(faces)
        assert teeth.loss <= (blur.FACE_AMBIGUITY_LIMIT if faces else blur.AMBIGUITY_LIMIT)
    assert teeth.limited  # the face's limit holds it back


def test_a_face_inside_a_larger_region_is_left_alone():
    """NASA's portrait of Eileen Collins (public domain) under a fine veil, which is one region."""
    portrait = pictures.read_picture(Path(__file__).parent / "portrait.jpg", (400, 400))
    rows, columns = np.mgrid[:400, :400] // 3
    veiled = (portrait + (0.2 * ((rows + columns) % 2) - 0.1)[..., None]).clip(0, 1)
    veiled = veiled.astype(np.float32)
    (face,) = faces = find_faces(veiled)
    matrix = analyse(veiled)
    sinks = find_sinks(veiled, matrix, faces)
    inside = np.zeros((400, 400), bool)
    inside[face[1] : face[1] + face[3], face[0] : face[0] + face[2]] = True
    around = [sink for sink in sinks if not sink.protected]
    radius = blur.radius_map(blur.treat(veiled, matrix, around, faces=faces), (400, 400))
    assert not radius[inside].any()
    assert (radius[~inside] > 0.3).mean() > 0.3
    asked = [replace(sink, protected=True) for sink in around]
    regions = blur.treat(veiled, matrix, asked, faces=faces)
    assert blur.radius_map(regions, (400, 400))[inside].any()
    measured, _ = find_radius(veiled, Hygiene(mode="soft"), 0)
    assert not measured[inside].any()


def test_blots_are_irregular_seeded_and_cover_their_part():
    cells = np.ones((60, 80), bool)
    first, again, other = (blur.blots(cells, (240, 320), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.2
    assert (first > 0.5).mean() == pytest.approx(blur.BLOT_COVER, abs=0.03)
    count, _ = cv2.connectedComponents((first > 0.5).astype(np.uint8))
    holes, _ = cv2.connectedComponents((first <= 0.5).astype(np.uint8))
    assert count + holes > 6


def test_keep_edges_spares_an_outline_and_blurs_what_is_inside():
    picture = np.full((120, 120, 3), 0.2, np.float32)
    picture[30:90, 30:90] = 0.8
    picture[50:70:2, 50:70] = 0.6
    radius = np.full((120, 120), 1.5, np.float32)
    kept, plain = (blur.soften(picture, radius, keep) for keep in (True, False))
    outline, inside = np.s_[55:65, 28:32], np.s_[50:70, 50:70]
    assert np.abs(kept - picture)[outline].max() < 0.3 * np.abs(plain - picture)[outline].max()
    assert np.abs(kept - picture)[inside].mean() > 0.8 * np.abs(plain - picture)[inside].mean()


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
    said = treatment.describe(frame(), 0, 4)["by_measure"]["end"]
    assert said["score_blurred"] < 0.9 * said["score"]
    assert said["largest_radius"] == pytest.approx(max(r.radius for r in regions), abs=1e-3)


def test_pictures_without_a_map_are_left_where_nothing_is_soft():
    treatment = Treatment(Hygiene(mode="scheduled"), painted(), others=True)
    np.testing.assert_array_equal(treatment.see("low", frame(), "end"), low_pass(frame(), 0.4))
    assert "by_measure" not in treatment.describe(frame(), 0, 4)


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
    assert said["low_passed"] == 0.5
    assert ("blurred" in said) == (mode == "both")


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
    assert said["by_measure"]["end"]["low_passed"] == pytest.approx(changed.mean(), abs=0.02)
    assert "no blur map" in said["notes"][0]


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
    assert read.describe(picture, START, 8)["blurred"] > 0


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
    assert said["mode"] == "both"
    assert said["blurred"] == 0.5
    assert said["largest_radius"] == 0.5
    assert said["score_blurred"] < said["score"]
    assert said["low_passed_steps"] == [3, 4]
    assert said["notes"] == []


@pytest.mark.parametrize(("strength", "warned"), [(0.2, False), (2.0, True)])
def test_report_names_what_the_run_made_ambiguous(strength, warned):
    """As strong as the run blurs, not as it was painted."""
    room = ROOMS["bedroom"]().rgb
    settings = Hygiene(mode="soft", strength=strength)
    treatment = Treatment(settings, painted(1.25, *room.shape[:2]))
    notes = treatment.describe(2 * room - 1, 0, 8)["notes"]
    assert bool(notes) == warned
    if warned:
        assert "of its shape" in notes[0]
        assert len(notes) <= 4


def test_report_notes_what_had_no_effect():
    scheduled = Treatment(Hygiene(mode="both", start=0.5, end=0.5)).describe(frame(), 0, 8)
    assert "low_passed_steps" not in scheduled
    assert len(scheduled["notes"]) == 2
