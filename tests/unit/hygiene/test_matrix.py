# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix view on the labelled set. Seeds from 3000 on were not used to choose its numbers."""

import functools
from pathlib import Path

import cv2
import numpy as np
import pytest

from tools.hygiene_set import scenes
from tools.hygiene_set.patches import DECOYS
from tools.hygiene_set.rooms import ROOMS
from wan_blender.core.errors import UnsupportedClip
from wan_blender.engine.hygiene import pictures
from wan_blender.engine.hygiene.faces import find_faces
from wan_blender.hygiene import bands, cells
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


def test_bands_and_base_add_up_to_the_picture():
    plane = np.random.default_rng(0).random((37, 53), np.float32)
    parts, base = bands.split(plane, 4)
    np.testing.assert_allclose(sum(parts) + base, plane, atol=1e-6)


def test_band_noise_gain_is_that_of_white_noise():
    noise = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
    parts, _ = bands.split(noise, 4)
    np.testing.assert_allclose([p.std() for p in parts], bands.NOISE_GAIN, rtol=0.03)


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


def test_face_in_a_photograph_is_found_and_its_details_are_protected():
    """NASA's portrait of Eileen Collins (public domain): a face, a flag, a space suit."""
    picture = pictures.read_picture(Path(__file__).parent / "portrait.jpg", (400, 400))
    faces = find_faces(picture)
    assert len(faces) == 1
    x, y, width, height = faces[0]
    assert x < 170
    assert x + width > 250
    assert y < 150
    assert y + height > 260
    sinks = find_sinks(picture, analyse(picture), faces)
    eye = next(sink for sink in sinks if abs(sink.box[0] - 152) < 12 and 130 < sink.box[1] < 165)
    suit = next(sink for sink in sinks if sink.box[1] > 290)
    assert eye.protected
    assert not suit.protected


def test_sinks_in_a_face_are_protected():
    picture = ROOMS["portrait"]()
    sinks = find_sinks(picture.rgb, analyse(picture.rgb), faces=[(330, 60, 170, 220)])
    protected = [sink for sink in sinks if sink.protected]
    assert len(protected) >= 3  # two eyes and the teeth
    assert any(not sink.protected for sink in sinks)


def test_label_finds_the_parts_of_a_u_shape_as_one():
    mask = np.array([[1, 0, 1, 0, 1], [1, 0, 1, 0, 0], [1, 1, 1, 0, 1]], bool)
    labels, count = cells.label(mask)
    assert count == 3
    assert len(np.unique(labels[:, :3][mask[:, :3]])) == 1
    assert cells.label(np.ones((3, 3), bool))[1] == 1
    assert cells.label(np.zeros((3, 3), bool))[1] == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 5), (63, 65), (64, 64), (481, 833)])
def test_any_size_is_analysed(shape):
    picture = np.random.default_rng(0).random((*shape, 3)).astype(np.float32)
    matrix = analyse(picture)
    assert matrix.glow.shape == shape
    assert np.isfinite(matrix.glow).all()
    assert isinstance(find_sinks(picture, matrix), list)


@pytest.mark.parametrize(
    ("image", "value"),
    [
        (np.full((4, 6), 128, np.uint8), 128 / 255),
        (np.full((4, 6, 1), 0.25, np.float32), 0.25),
        (np.full((4, 6, 3), 65535, np.uint16), 1.0),
        (np.full((4, 6, 2), 0.5, np.float64), 0.5),
        (np.dstack([np.ones((4, 6, 3)), np.zeros((4, 6))]), 0.5),
        (np.full((4, 6, 3), 7.0, np.float32), 1.0),
    ],
)
def test_gray_alpha_deep_and_bright_pictures_become_rgb(image, value):
    rgb = bands.to_rgb(image)
    assert rgb.shape == (4, 6, 3)
    assert rgb.dtype == np.float32
    np.testing.assert_allclose(rgb, value, atol=1e-6)


@pytest.mark.parametrize("image", [np.zeros((0, 4, 3)), np.zeros(5), np.zeros((2, 2, 5))])
def test_what_is_no_picture_is_refused_with_its_shape(image):
    with pytest.raises(UnsupportedClip, match=str(image.shape[0])):
        bands.to_rgb(image)


def test_pixels_that_are_no_numbers_are_refused_with_their_count():
    image = np.zeros((4, 4, 3))
    image[1, 2, 0] = np.nan
    with pytest.raises(UnsupportedClip, match="1 pixels"):
        bands.to_rgb(image)


@pytest.mark.parametrize("size", [(832, 480), (16, 9), (1, 1), (1700, 1000)])
def test_resize_keeps_the_mean_and_a_constant(size):
    picture = np.random.default_rng(0).random((480, 832, 3)).astype(np.float32)
    out = bands.resize(picture, *size)
    assert out.shape == (size[1], size[0], 3)
    assert out.mean() == pytest.approx(picture.mean(), abs=0.002)
    flat = bands.resize(np.full((1080, 1920, 3), 0.3, np.float32), *size)
    np.testing.assert_allclose(flat, 0.3, atol=1e-5)


def test_an_8k_picture_is_reduced_without_aliasing():
    stripes = (np.arange(7680) % 2).astype(np.float32)
    picture = np.broadcast_to(stripes[None, :, None], (4320, 7680, 1))
    small = bands.resize(picture, 832, 480)
    np.testing.assert_allclose(small[:, 2:-2], 0.5, atol=0.05)
