# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured and matched around a patch."""

import numpy as np
import pytest

from wan_blender.core.answers.report import SeamReport
from wan_blender.engine.frames.seams import (
    FINE_SHARE,
    SeamMeter,
    add_grain,
    colour_offset,
    grain_level,
    mean_near,
    ring_around,
)


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


def test_smoothing_averages_in_time():
    values = {i: np.array([float(i == 10)]) for i in range(21)}
    out = np.array([mean_near(values, i, 3)[0] for i in range(21)])
    assert out.argmax() == 10
    assert (out[7:14] > 0).all()
    assert out[:7].max() == 0
    np.testing.assert_allclose(out[7:10], out[13:10:-1])
    assert mean_near({0: None, 1: None}, 0, 3) is None
    assert mean_near({0: None, 1: np.array([2.0])}, 0, 3) == 2


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
    assert same.report() == SeamReport(1.0, 0.0)
    assert step.report().gradient_ratio > 4
    assert step.report().colour_step == pytest.approx(0.2, abs=1e-3)
