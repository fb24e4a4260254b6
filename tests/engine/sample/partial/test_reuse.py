# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps are left out where the model would say the same, in dense runs and over rows."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.sample.partial.shots import inputs, model, one_span, square, whole
from wan_blender.engine.sample.partial.passes import Passes
from wan_blender.engine.sample.partial.plan import plan_passes
from wan_blender.engine.sample.partial.refresh import DENSE, FULL, REUSE, ROWS
from wan_blender.engine.sample.partial.reuse import WARM, Reuse

STEPS = 20


def _computed(threshold, change, gain=1.0):
    """Steps that are computed of a run whose input moves by ``change`` of itself at each step and
    whose output is ``gain`` times the input."""
    reuse, x, found = Reuse(threshold, STEPS), torch.ones(8), []
    for step in range(STEPS):
        x = x * (1 + change)
        if not reuse.repeats(0, step, x):
            reuse.note(0, x, gain * x)
            found.append(step)
    return found


@pytest.mark.parametrize("gain", [0.1, 1.0, 30.0])
def test_steps_are_left_out_until_the_change_adds_up_to_the_threshold(gain):
    assert _computed(0.0, 0.01, gain) == list(range(STEPS))
    few = _computed(0.0301, 0.01, gain)
    assert few[:WARM] == [0, 1]
    assert few[-1] == STEPS - 1
    assert [b - a for a, b in pairwise(few[1:-1])] == [3] * (len(few) - 3)


@given(st.floats(0, 1), st.floats(0, 0.3))
def test_first_and_last_steps_are_always_computed(threshold, change):
    found = _computed(threshold, change)
    assert found[:WARM] == list(range(WARM))
    assert found[-1] == STEPS - 1


def _run(compute, reuse, solver="euler"):
    made, given = model("t2v"), inputs("t2v")
    plan = plan_passes(
        compute, [square()] * STEPS, 2, whole(3), one_span(STEPS, solver), reuse=reuse
    )
    passes, answers = Passes(plan), []
    passes.begin()
    for step in range(STEPS):
        x = given["hidden_states"] * (1 + 0.002 * step)
        call = passes.call(made, step)
        branches = [call(**given | {"hidden_states": x}, return_dict=False)[0] for _ in range(2)]
        assert torch.equal(*branches)  # both branches are computed, or both are left out
        (expected,) = made(**given | {"hidden_states": x}, return_dict=False)
        answers.append((branches[0], expected))
    return answers, passes


def test_dense_run_repeats_steps_and_computes_the_others_as_the_model_does():
    answers, passes = _run("dense", 0.02)
    counted = passes.describe().passes
    assert counted[DENSE] + counted[REUSE] == 2 * STEPS
    assert counted[REUSE] >= STEPS
    equal = [torch.equal(got, expected) for got, expected in answers]
    assert 2 * sum(equal) == counted[DENSE]
    for got, expected in answers:
        assert (got - expected).norm() < 0.05 * expected.norm()


def test_reuse_saves_passes_over_rows_but_no_full_one():
    plain = _run("balanced", 0.0)[1].describe().passes
    spared = _run("balanced", 0.02)[1].describe().passes
    assert spared[FULL] == plain[FULL]
    assert spared[REUSE] + spared[ROWS] == plain[ROWS]
    assert spared[REUSE] > 0


def test_solver_with_fresh_noise_repeats_nothing():
    made = model("t2v")
    plan = plan_passes("dense", [square()] * 9, 2, whole(3), one_span(9, "lcm"), reuse=0.5)
    assert Passes(plan).call(made, 4) is made
