# SPDX-License-Identifier: GPL-3.0-or-later
"""sRGB beyond white, and the model's curve."""

import numpy as np
import pytest

from wan_blender.light.tone import KNEE, PLAIN, Tone, decode_srgb, encode_srgb

HALVES = np.arange(65536, dtype=np.uint16).view(np.float16)
HALVES = HALVES[np.isfinite(HALVES)].astype(np.float32)


def test_every_half_float_comes_back_from_srgb():
    back = decode_srgb(encode_srgb(HALVES)).astype(np.float16)
    np.testing.assert_array_equal(back, HALVES)
    assert len(np.unique(encode_srgb(HALVES))) == len(np.unique(HALVES))  # 0 means equal halves


def test_srgb_is_the_standards_formula():
    light = np.array([0, 0.001, 0.0031308, 0.01, 0.2140411, 1], np.float32)
    wanted = [0, 0.01292, 0.0404499, 0.0998528, 0.5, 1]
    np.testing.assert_allclose(encode_srgb(light), wanted, atol=2e-6)
    np.testing.assert_allclose(encode_srgb(-light), np.negative(wanted), atol=2e-6)


@pytest.mark.parametrize("peak", [1.0005, 1.01, 1.5, 5, 100, 65504])
def test_curve_takes_the_peak_to_white_and_back(peak):
    tone, brightest = Tone(peak), float(encode_srgb(np.float32(peak)))
    values = np.linspace(0, brightest, 2001, dtype=np.float32)
    seen = tone.compress(values)
    assert seen[-1] == pytest.approx(1, abs=1e-6)
    assert (np.diff(seen) > 0).all()
    np.testing.assert_allclose(tone.expand(seen), values, rtol=1e-5, atol=1e-7)
    below = values <= KNEE
    np.testing.assert_array_equal(seen[below], values[below])
    step = np.float32(1e-3)
    slope = (tone.compress(KNEE + step) - np.float32(KNEE)) / step
    assert slope == pytest.approx(1, abs=0.1)  # no kink


@pytest.mark.parametrize("peak", [0, 0.5, 1])
def test_without_light_above_white_the_curve_is_none(peak):
    values = np.linspace(0, 1, 100, dtype=np.float32)
    np.testing.assert_array_equal(Tone(peak).compress(values), values)
    np.testing.assert_array_equal(PLAIN.expand(values), values)
