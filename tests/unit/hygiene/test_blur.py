# SPDX-License-Identifier: GPL-3.0-or-later
"""Treated sinks of the labelled set: brought to the level around them, and no more."""

import functools

import cv2
import numpy as np
import pytest

from tools.hygiene_set import scenes
from tools.hygiene_set.rooms import ROOMS
from wan_blender.hygiene import blur
from wan_blender.hygiene.bands import luminance
from wan_blender.hygiene.matrix import analyse
from wan_blender.hygiene.sinks import find_sinks

SEEDS = range(3000, 3012)


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
