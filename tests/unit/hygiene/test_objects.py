# SPDX-License-Identifier: GPL-3.0-or-later
"""Switches, outlets and knobs on calm ground are found at any contrast; textures hold none."""

import numpy as np
import pytest

from tools.hygiene_set.objects import (
    CONTRASTS,
    PHOTOGRAPHS,
    draw_wall,
    look,
    photograph,
    plant_in_photograph,
)
from tools.hygiene_set.patches import DECOYS
from tools.hygiene_set.scenes import HEIGHT, WIDTH, camera
from wan_blender.hygiene.bands import luminance
from wan_blender.hygiene.blur import soften
from wan_blender.hygiene.matrix import analyse
from wan_blender.hygiene.objects import lone_objects


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_things_on_a_light_wall_are_found_and_nothing_else(contrast):
    hits, others = [], 0
    for seed in range(4):
        rgb, things = draw_wall(seed, contrast)
        found, beside = look(rgb, things)
        hits += found
        others += beside
    assert np.mean(hits) >= (0.85 if contrast == 6 else 0.98)
    assert others == 0


def test_things_in_twelve_photographs_are_found_where_they_stand_off_their_ground():
    clear, faint = [], []
    for name in PHOTOGRAPHS:
        rgb, things = plant_in_photograph(name, 40)
        for thing, hit in zip(things, look(rgb, things)[0], strict=True):
            (clear if 12 * thing.ground < 40 / 255 else faint).append(hit)
    assert len(clear) >= 12
    assert np.mean(clear) >= 0.85
    assert np.mean(faint) < np.mean(clear)  # what the ground hides is hidden


def test_textures_hold_no_things():
    count = 0
    for seed, draw in enumerate(DECOYS.values()):
        rng = np.random.default_rng(seed)
        rgb = camera(rng, draw(rng, 2 * HEIGHT, 2 * WIDTH)[0].copy())
        count += (lone_objects(luminance(rgb)) > 0).any()
    for name in ("brick.png", "grass.png", "gravel.png"):
        count += (lone_objects(luminance(photograph(name))) > 0).mean() > 0.002
    assert count <= 1


@pytest.mark.parametrize("shape", [(1, 1), (4, 7), (40, 200), (128, 128)])
def test_any_size_is_looked_at(shape):
    assert lone_objects(np.full(shape, 0.5, np.float32)).max() == 0


def test_faint_thing_is_seen_in_the_view():
    rgb, things = draw_wall(3, 10)
    matrix = analyse(rgb)
    for thing in things:
        part = matrix.glow[thing.y - 24 : thing.y + 24, thing.x - 24 : thing.x + 24]
        assert part.max() > 0.3
    assert np.median(matrix.glow) < 0.05


def test_softened_thing_does_not_count_again_for_being_faint():
    rgb, things = draw_wall(3, 90)
    matrix = analyse(rgb)
    treated = soften(rgb, np.full(rgb.shape[:2], 2.5, np.float32))
    after = analyse(treated, matrix)
    assert after.score < matrix.score
    for thing in things:
        part = np.s_[thing.y - 24 : thing.y + 24, thing.x - 24 : thing.x + 24]
        assert after.glow[part].max() < 0.7 * matrix.glow[part].max()
