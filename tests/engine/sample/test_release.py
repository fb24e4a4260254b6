# SPDX-License-Identifier: GPL-3.0-or-later
"""Laws of release: when each soft value is let go."""

import numpy as np
import pytest
import torch

from wan_blender.engine.sample.release import LAWS, make_law
from wan_blender.schedule.noise import make_sigmas


def test_release_law_frees_each_value_at_its_time_whatever_the_shift():
    values = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    first = []
    for shift in (1.0, 5.0, 12.0):
        sigmas = make_sigmas("shifted", 100, shift).tolist()
        law = make_law("release", values, sigmas, shift, 0.0)
        steps = torch.stack([law(i) for i in range(100)])
        first.append((steps > 0).int().argmax(0).tolist())
    assert first[0] == first[1] == first[2]
    np.testing.assert_allclose(np.array(first[0]) / 100, 1 - values, atol=0.011)


def test_every_law_frees_white_at_once_and_black_never():
    mask = torch.tensor([0.0, 1.0])
    for name in LAWS:
        for steps in (1, 4, 20):
            sigmas = make_sigmas("shifted", steps, 8.0).tolist()
            law = make_law(name, mask, sigmas, 8.0)
            for step in range(steps):
                assert law(step).tolist() == [0, 1], (name, steps, step)


@pytest.mark.parametrize(
    ("steps", "shift", "value", "expected"),
    [(4, 5, 0.9, 2), (4, 5, 0.7, 3), (4, 5, 0.5, None), (8, 5, 0.5, 7), (20, 5, 0.9, 8),
     (20, 5, 0.7, 14), (20, 5, 0.5, 17), (20, 5, 0.3, 19), (20, 8, 0.9, 10), (20, 8, 0.5, 18)],
)  # fmt: skip
def test_comfy_law_releases_as_in_the_reference_table(steps, shift, value, expected):
    """The table counts steps from 0 and lists the first denoised one."""
    sigmas = make_sigmas("simple", steps, shift).tolist()
    law = make_law("comfy", torch.tensor([value]), sigmas, shift)
    free = [step for step in range(steps) if law(step)[0] > 0]
    assert (free[0] if free else None) == expected


def test_comfy_law_counts_each_stage_as_in_the_reference_table():
    """Twenty steps of shift 8 in two samplers of ten; a cell is free from its threshold up."""
    sigmas = make_sigmas("simple", 20, 8).tolist()
    table = [1, 0.941, 0.877, 0.806, 0.727, 0.640, 0.542, 0.432, 0.308, 0.165,
             1, 0.976, 0.947, 0.912, 0.870, 0.817, 0.748, 0.656, 0.525, 0.327]  # fmt: skip
    values = torch.linspace(0, 1, 10001, dtype=torch.float64)
    law = make_law("comfy", values, sigmas, 8.0, starts=[0, 10])
    lowest = [float(values[law(step) > 0].min()) for step in range(20)]
    np.testing.assert_allclose(lowest, table, atol=7e-4)
    for other in ("static", "release", "kijai"):
        one, two = (make_law(other, values, sigmas, 8.0, starts=s) for s in ([0], [0, 10]))
        assert all(torch.equal(one(step), two(step)) for step in range(20))


@pytest.mark.parametrize("sigmas", [[1.0, 0.008, 0.0], [1.0, 0.006, 0.003, 0.0]])
def test_comfy_law_of_a_stage_below_all_training_is_one_still(sigmas):
    law = make_law("comfy", torch.tensor([0.0, 0.5, 1.0]), sigmas, 8.0, starts=[0, 1])
    assert law(1).tolist() == [0, 0, 1]
    assert law(len(sigmas) - 2)[2] == 1


@pytest.mark.parametrize(("value", "expected"), [(0.9, 2), (0.7, 7), (0.5, 10), (0.3, 14)])
def test_kijai_law_releases_as_in_the_reference_table(value, expected):
    sigmas = make_sigmas("simple", 20, 5).tolist()
    law = make_law("kijai", torch.tensor([value], dtype=torch.float64), sigmas, 5)
    assert next(step for step in range(20) if law(step)[0] > 0) == expected


def test_kijai_law_holds_nothing_gray_in_the_last_step():
    """Four steps keep while 1 - m > 0, 1/4, 1/2; the 3/4 of the last is never applied there."""
    values = torch.tensor([0.0, 0.001, 0.2, 0.3, 0.6, 0.8], dtype=torch.float64)
    law = make_law("kijai", values, make_sigmas("simple", 4, 5).tolist(), 5)
    free = torch.stack([law(step) for step in range(4)], 1).tolist()
    assert free == [[0] * 4, [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]]
