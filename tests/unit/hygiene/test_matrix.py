# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix view on the labelled set. Seeds from 3000 on were not used to choose its numbers."""

import functools

import cv2
import numpy as np
import pytest

from tools.hygiene_set import scenes
from tools.hygiene_set.patches import DECOYS
from tools.hygiene_set.rooms import ROOMS
from wan_blender.hygiene.matrix import Matrix, analyse, analyse_plane, band_glow
from wan_blender.hygiene.sinks import find_sinks

SEEDS = range(3000, 3024)


@functools.cache
def judged(seed: int) -> tuple[scenes.Picture, Matrix]:
    picture = scenes.labelled(seed)
    return picture, analyse(picture.rgb)


def on_cells(mask: np.ndarray, like: np.ndarray) -> np.ndarray:
    small = cv2.resize(mask.astype(np.float32), like.shape[::-1], interpolation=cv2.INTER_AREA)
    return small > 0.5


def region_scores(is_sink: bool) -> list[tuple[str, float]]:
    return [
        (region.name, float(matrix.salience[on_cells(region.mask, matrix.salience)].mean()))
        for picture, matrix in map(judged, SEEDS)
        for region in picture.regions
        if region.is_sink == is_sink
    ]


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    wins = positive[:, None] > negative
    return float((wins + 0.5 * (positive[:, None] == negative)).mean())


def test_sinks_rank_above_uniform_textures():
    sinks, decoys = (np.array([s for _, s in region_scores(kind)]) for kind in (True, False))
    assert len(sinks) > 40
    assert len(decoys) > 50
    assert area_under_curve(sinks, decoys) >= 0.9


def test_glow_is_brighter_on_sinks_than_on_uniform_textures():
    glow = {True: [], False: []}
    for picture, matrix in map(judged, SEEDS):
        for region in picture.regions:
            glow[region.is_sink].append(matrix.glow[region.mask].mean())
    assert area_under_curve(np.array(glow[True]), np.array(glow[False])) >= 0.9
    assert np.median(glow[True]) > 10 * np.median(glow[False])


@pytest.mark.parametrize("name", DECOYS)
def test_uniform_texture_over_the_whole_picture_stays_dark(name):
    scores = []
    for seed in range(3000, 3003):
        rng = np.random.default_rng(seed)
        canvas, _ = DECOYS[name](rng, 2 * scenes.HEIGHT, 2 * scenes.WIDTH)
        scores.append(analyse(scenes.camera(rng, canvas)).score)
    assert np.median(scores) < 5


@pytest.mark.parametrize("name", ROOMS)
def test_room_glows_where_it_should(name):
    picture = ROOMS[name]()
    matrix = analyse(picture.rgb)
    sink = np.any([r.mask for r in picture.regions if r.is_sink], axis=0)
    decoy = np.any([r.mask for r in picture.regions if not r.is_sink], axis=0)
    around = cv2.dilate(sink.astype(np.uint8), np.ones((31, 31))) > 0
    assert matrix.glow[sink].mean() > 8 * matrix.glow[decoy & ~around].mean()


@pytest.mark.parametrize(("period", "band"), [(3, 0), (8, 1), (20, 2)])
def test_band_shows_detail_of_its_size_and_all_bands_add_up(period, band):
    plane = np.full((240, 320), 0.5, np.float32)
    plane[80:160, 80:240] += 0.05 * np.sin(2 * np.pi * np.arange(160) / period)
    matrix = analyse_plane(plane)
    glows = [band_glow(plane, matrix, level) for level in range(3)]
    assert int(np.argmax([glow.sum() for glow in glows])) == band
    np.testing.assert_allclose(sum(glow**2 for glow in glows), matrix.glow**2, atol=1e-4)


def test_exposure_hardly_changes_the_view():
    picture, matrix = judged(3001)
    darker = analyse(picture.rgb * 0.6)
    assert np.corrcoef(darker.salience.ravel(), matrix.salience.ravel())[0, 1] > 0.95
    assert darker.score == pytest.approx(matrix.score, rel=0.3)


def test_noise_is_estimated_and_taken_off():
    rng = np.random.default_rng(0)
    flat = np.full((240, 320, 3), 0.5, np.float32)
    noisy = flat + rng.normal(size=(240, 320, 1)).astype(np.float32) * 4 / 255
    matrix = analyse(noisy)
    assert 255 * matrix.noise == pytest.approx(4, rel=0.25)
    assert matrix.score < 1


def test_one_clean_edge_is_no_sink():
    picture = np.full((480, 832, 3), 0.3, np.float32)
    picture[:, 400:] = 0.7
    matrix = analyse(picture)
    assert matrix.salience.max() < 0.05
    assert find_sinks(picture, matrix) == []


def test_each_sink_of_a_picture_is_found_and_the_decoys_are_not():
    found = missed = wrong = right = 0
    for picture, matrix in map(judged, SEEDS):
        sinks = find_sinks(picture.rgb, matrix)
        listed = np.any([s.cells for s in sinks], axis=0) if sinks else matrix.salience < 0
        for region in picture.regions:
            covered = listed[on_cells(region.mask, matrix.salience)].mean()
            if region.is_sink:
                found, missed = found + (covered > 0.25), missed + (covered <= 0.25)
            else:
                wrong, right = wrong + (covered > 0.02), right + (covered <= 0.02)
    assert found / (found + missed) > 0.85
    assert wrong / (wrong + right) < 0.05


def test_sinks_are_ranked_and_their_boxes_lie_inside():
    picture = ROOMS["kitchen"]()
    sinks = find_sinks(picture.rgb, analyse(picture.rgb))
    shares = [sink.share for sink in sinks]
    assert shares == sorted(shares, reverse=True)
    assert 0.5 < sum(shares) <= 1.001
    for x, y, width, height in (sink.box for sink in sinks):
        assert 0 <= x < x + width <= 832
        assert 0 <= y < y + height <= 480


def test_kinds_name_what_is_there():
    kinds: dict[str, list[str]] = {}
    for seed in range(3000, 3040):
        picture, matrix = judged(seed)
        sinks = find_sinks(picture.rgb, matrix)
        for region in picture.regions:
            here = on_cells(region.mask, matrix.salience)
            hit = next((s for s in sinks if s.cells[here].mean() > 0.3), None)
            if region.is_sink and hit:
                kinds.setdefault(region.name, []).append(hit.kind)
    for name, kind, least in (
        ("blinds", "pattern", 0.9),
        ("weave", "pattern", 0.9),
        ("printed_cloth", "pattern", 0.6),
        ("switch", "small object", 0.9),
        ("teeth", "small object", 0.9),
        ("knob", "small object", 0.7),
        ("label", "text-like", 0.5),
        ("glints", "specular", 0.7),
        ("hair", "line work", 0.5),
        ("shelf", "line work", 0.6),
    ):
        assert kinds[name].count(kind) / len(kinds[name]) >= least, (name, kinds[name])
    assert "text-like" not in kinds["shelf"]


def test_sinks_in_a_face_are_protected():
    picture = ROOMS["portrait"]()
    sinks = find_sinks(picture.rgb, analyse(picture.rgb), faces=[(330, 60, 170, 220)])
    protected = [sink for sink in sinks if sink.protected]
    assert len(protected) >= 3  # two eyes and the teeth
    assert any(not sink.protected for sink in sinks)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 5), (63, 65), (64, 64), (481, 833)])
def test_any_size_is_analysed(shape):
    picture = np.random.default_rng(0).random((*shape, 3)).astype(np.float32)
    matrix = analyse(picture)
    assert matrix.glow.shape == shape
    assert np.isfinite(matrix.glow).all()
    assert isinstance(find_sinks(picture, matrix), list)
