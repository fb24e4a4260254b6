# SPDX-License-Identifier: GPL-3.0-or-later
"""Borrowing on shots whose clean plate is known, and on everything a shot can be instead."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.engine.borrow.clips import RECIPES, Recipe, make_clip, short
from tests.engine.borrow.measure import measure_clip, psnr
from wan_blender.engine.borrow.cast import propose_matte, searched
from wan_blender.engine.borrow.choice import Candidate, choose
from wan_blender.engine.borrow.colour import match_light
from wan_blender.engine.borrow.motion import spread_in
from wan_blender.engine.borrow.shot import Borrower

PLANAR = ["pan", "zoom", "rotation", "pan, 16 bit", "pan, exposure drifts"]


def recipe(name: str) -> Recipe:
    return short(next(r for r in RECIPES if r.name == name))


def painted(random, frames=6, size=(64, 96)) -> np.ndarray:
    one = cv2.GaussianBlur(random.random((*size, 3)).astype(np.float32), (0, 0), 1.5)
    one = (one - one.min()) / (one.max() - one.min())
    return np.repeat((one * 255).astype(np.uint8)[None], frames, 0)


def moving_mask(frames=6, size=(64, 96), step=12) -> np.ndarray:
    mask = np.zeros((frames, *size), np.float32)
    for t in range(frames):
        mask[t, 20:40, 8 + step * t : 18 + step * t] = 1
    return mask


@pytest.mark.parametrize("name", PLANAR)
def test_planar_motion_is_borrowed_to_38_db(name):
    found = measure_clip(make_clip(recipe(name)))
    assert found.db >= 38
    assert found.used > 0.9
    assert found.db > found.telea + 10


def test_two_layers_are_borrowed_to_30_db_where_it_is_sure():
    found = measure_clip(make_clip(recipe("two layers, slow")))
    assert found.sure_db >= 30
    assert found.db > found.telea + 5


def test_static_camera_copies_pixels_bit_for_bit():
    plate = painted(np.random.default_rng(0))
    mask = moving_mask()
    hidden = plate.copy()
    hidden[mask > 0] = 200
    for index, borrowed in enumerate(Borrower(hidden, mask)):
        assert (borrowed.picture == plate[index]).all()


def test_pixels_outside_the_mask_are_the_plates_own():
    clip = make_clip(recipe("rotation"))
    for index, borrowed in enumerate(Borrower(clip.plate, clip.mask)):
        kept = clip.mask[index] == 0
        assert (borrowed.picture[kept] == clip.plate[index][kept]).all()
        assert (borrowed.confidence[kept] == 0).all()
        assert borrowed.picture.dtype == clip.plate.dtype


def test_nothing_is_borrowed_across_a_cut():
    clip = make_clip(replace(recipe("cut"), cut=6))
    borrower = Borrower(clip.plate, clip.mask)
    assert borrower.survey.cuts == [6]
    for borrowed in borrower:
        assert all((donor < 6) == (borrowed.index < 6) for donor in borrowed.donors)
    assert any("frame 106" in note for note in borrower.notes(100))


def test_a_white_flash_is_not_a_cut_and_gives_nothing():
    clip = make_clip(recipe("pan"))
    plate = clip.plate.copy()
    plate[5] = 255
    borrower = Borrower(plate, clip.mask)
    assert borrower.survey.cuts == []
    assert borrower.survey.lost == [5]
    assert all(5 not in borrowed.donors for borrowed in borrower)


def test_nothing_to_borrow_is_said():
    plate = painted(np.random.default_rng(0))
    mask = np.repeat(moving_mask()[:1], 6, 0)
    borrower = Borrower(plate, mask)
    assert all((b.confidence == 0).all() and (b.picture == plate[0]).all() for b in borrower)
    assert borrower.notes() == [
        "Nothing could be borrowed: neither the camera nor what is masked moves."
    ]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_shots_work(frames):
    plate, mask = painted(np.random.default_rng(0), frames), moving_mask(frames)
    borrower = Borrower(plate, mask)
    assert len(list(borrower)) == frames
    assert ("one frame" in borrower.notes()[0]) == (frames == 1)


def test_a_mask_over_whole_frames_and_none_on_others_is_survived():
    clip = make_clip(recipe("pan"))
    mask = clip.mask.copy()
    mask[4:6], mask[8:] = 1, 0
    borrower = Borrower(clip.plate, mask)
    found = list(borrower)
    assert not found[9].donors
    assert (found[9].picture == clip.plate[9]).all()
    mask[:] = 1
    assert all((b.confidence == 0).all() for b in Borrower(clip.plate, mask))
    mask[:] = 0
    empty = Borrower(clip.plate, mask)
    list(empty)
    assert "empty" in empty.notes()[0]


def test_gray_alpha_float_and_callables_are_taken():
    plate, mask = painted(np.random.default_rng(0)), moving_mask()
    alpha = np.concatenate([plate, np.full((*plate.shape[:3], 1), 255, np.uint8)], 3)
    for frames in (plate[..., :1], alpha, plate.astype(np.float32) / 255):
        shot = Borrower(frames.__getitem__, mask.__getitem__, len(frames))
        first = shot.fill(0)
        assert first.picture.shape == frames[0].shape
        assert first.picture.dtype == frames.dtype
        assert first.confidence.max() > 0.5


def test_interlace_is_said():
    clip = make_clip(recipe("pan"))
    plate = clip.plate.copy()
    plate[:-1, 1::2] = clip.plate[1:, 1::2]
    borrower = Borrower(plate, clip.mask)
    list(borrower)
    assert any("interlaced" in note for note in borrower.notes())
    plain = Borrower(clip.plate, clip.mask)
    list(plain)
    assert not any("interlaced" in note for note in plain.notes())


def test_light_is_matched_and_left_alone_where_it_is_the_same():
    picture = painted(np.random.default_rng(0))[0].astype(np.float32) / 255 * 0.7
    where = np.ones(picture.shape[:2], bool)
    assert not match_light(picture, picture, where).changes
    light = match_light(picture * 1.2 + 0.02, picture, where)
    assert np.allclose(light.gain, 1.2, atol=0.01)
    assert np.allclose(light.offset, 0.02, atol=0.005)


def test_spread_in_keeps_what_is_known_and_stays_within_it():
    random = np.random.default_rng(0)
    field = random.random((40, 50, 2)).astype(np.float32)
    weight = (random.random((40, 50)) < 0.2).astype(np.float32)
    spread = spread_in(field, weight)
    assert np.array_equal(spread[weight > 0], field[weight > 0])
    assert spread.min() >= field[weight > 0].min() - 1e-5
    assert spread.max() <= field[weight > 0].max() + 1e-5


def test_a_shadow_is_proposed_and_nothing_where_there_is_none():
    for shadow in (0.4, 0.0):
        clip = make_clip(replace(recipe("pan"), shadow=shadow, grain=1))
        grown = np.stack([searched(mask, 40) for mask in clip.mask])
        borrowed = Borrower(clip.plate, grown).fill(6)
        plate, mask = clip.plate[6], clip.mask[6]
        matte = propose_matte(plate, borrowed.picture, borrowed.confidence, mask)
        darker = np.abs(plate / 255.0 - clip.clean[6]).max(2) > 0.05
        outside = (mask == 0) & (borrowed.confidence > 0.5)
        if shadow:
            assert (matte[darker & outside] > 0).mean() > 0.7
        assert (matte[~darker & outside] > 0).mean() < 0.1
        assert (matte[mask > 0] == mask[mask > 0]).all()


def test_the_measure_sees_what_is_wrong():
    assert psnr(np.full(10, 0.1)) == pytest.approx(20)


def test_what_is_in_front_hides_what_donors_agree_on_behind_it():
    """Donors show the far wall everywhere, also behind the post; the frame shows the post."""
    random = np.random.default_rng(0)
    wall, post = (cv2.GaussianBlur(random.random((60, 60, 3)), (0, 0), 1) for _ in range(2))
    wall, post = (((p - p.mean()) * 2 + 0.5).clip(0, 1).astype(np.float32) for p in (wall, post))
    is_post = np.zeros((60, 60), bool)
    is_post[:, 20:40] = True
    hidden = np.zeros((60, 60), bool)
    hidden[20:40, 10:50] = True
    valid = np.ones((60, 60), bool)
    candidates = []
    for donor in range(3):
        beside = random.random((60, 60, 3)).astype(np.float32)
        near = np.where(is_post[..., None], post, beside)
        for layer, picture in enumerate((wall, near)):
            centre = np.float32([10 * donor * layer, 0])
            candidates.append(Candidate(donor, layer, picture, valid, donor + 1, centre, False))
    plate = np.where(is_post[..., None], post, wall)
    found = choose(plate, hidden, ~hidden, candidates)
    layer = np.array([c.layer for c in candidates])[found.chosen]
    assert (layer[hidden] == is_post[hidden]).mean() > 0.9
