# SPDX-License-Identifier: GPL-3.0-or-later
"""Fields that make a patch meet the plate."""

import cv2
import numpy as np

from wan_blender.engine.frames.harmonise import (
    CUTS,
    FADE_FRAMES,
    enlarged,
    fade,
    field_at_cut,
    membrane,
    reduced,
)

SIDE = 128


def textured(seed=0):
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(0, 0.3, (16, 16, 3)).astype(np.float32), (SIDE, SIDE))
    return np.clip(coarse + rng.normal(0, 0.02, coarse.shape), -0.8, 0.8).astype(np.float32)


def disc(radius=30):
    mask = np.zeros((SIDE, SIDE), np.float32)
    cv2.circle(mask, (64, 64), radius, 1.0, -1)
    return mask


def slope(strength=0.2):
    return np.linspace(-strength, strength, SIDE, dtype=np.float32)[None, :, None]


def left_over(plate, picture, mask, generated):
    """Root mean square error inside, before and after."""
    after = picture + enlarged(membrane(plate, picture, mask, generated), picture.shape)
    inside = mask > 0
    return [float(np.sqrt(((p - plate)[inside] ** 2).mean())) for p in (picture, after)]


def test_slope_of_light_is_taken_out():
    plate, mask = textured(), disc()
    generated = cv2.dilate(mask, np.ones((17, 17))) > 0
    picture = np.where(generated[..., None], plate + slope(), plate)
    before, after = left_over(plate, picture, mask, generated & (mask == 0))
    assert after < before / 6


def test_nothing_is_changed_where_nothing_is_wrong():
    plate, mask = textured(), disc()
    field = membrane(plate, plate, mask, cv2.dilate(mask, np.ones((17, 17))) > mask)
    assert np.abs(field).max() < 0.02


def test_new_thing_at_the_edge_does_not_shade_the_rest():
    plate, mask = textured(), disc()
    generated = cv2.dilate(mask, np.ones((17, 17))) > 0
    picture = plate.copy()
    thing = np.zeros((SIDE, SIDE), bool)
    thing[50:70, 80:110] = True
    picture[thing & generated] = 0.95
    field = enlarged(membrane(plate, picture, mask, generated & (mask == 0)), picture.shape)
    beside = cv2.dilate(thing.astype(np.uint8), np.ones((9, 9))) > 0
    assert np.abs(field[(mask > 0) & ~beside]).mean() < 0.02


def test_without_an_edge_there_is_no_membrane():
    plate = textured()
    for value in (0.0, 1.0):
        mask = np.full((SIDE, SIDE), value, np.float32)
        assert membrane(plate, plate, mask, mask > 0) is None
    assert membrane(plate, plate, disc(), disc() > 0) is None  # nothing generated beyond it


def test_cut_asks_for_the_light_of_the_kept_frame():
    kept = reduced(textured(), 24)
    moved = kept.copy()
    moved[8:12, 8:12] += 1  # a thing that only the new frame shows
    for how in CUTS:
        np.testing.assert_allclose(field_at_cut(kept + 0.1, kept, how), -0.1, atol=1e-5)
    light, blend = (np.abs(field_at_cut(moved, kept, how)).max() for how in ("light", "blend"))
    assert light < 0.01 < blend
    assert fade(1) == 1
    assert fade(FADE_FRAMES + 1) == 0
    assert fade(2) > fade(3)
