# SPDX-License-Identifier: GPL-3.0-or-later
"""Which steps compute everything, and what a plan says it saves."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.sample.partial.shots import one_span, square, whole
from wan_blender.core import schema
from wan_blender.core import settings as jobs
from wan_blender.engine.sample.partial.plan import plan_passes
from wan_blender.engine.sample.partial.refresh import DENSE, FULL, REUSE, ROWS, RULES, Refresh
from wan_blender.engine.sample.windows import plan_windows
from wan_blender.schedule.stages import StageSteps


def _kinds(compute, steps, forced=(), dense=(), rows=None):
    refresh = Refresh(RULES[compute], rows or [10] * steps, frozenset(forced), frozenset(dense))
    return [refresh.kind(step) for step in range(steps)]


RUNS = {
    "compute": st.sampled_from(list(RULES)),
    "steps": st.integers(1, 60),
    "forced": st.sets(st.integers(0, 60)),
    "dense": st.sets(st.integers(0, 60)),
}


@given(**RUNS)
def test_rows_always_follow_a_full_pass_that_is_not_too_old(compute, steps, forced, dense):
    kinds, last, rule = _kinds(compute, steps, forced, dense), None, RULES[compute]
    for step, kind in enumerate(kinds):
        if step in dense:
            assert kind == DENSE
            last = None
        elif step in forced or step < rule.warm or step == steps - 2:
            assert kind == FULL
        if kind == FULL:
            last = step
        elif kind in (ROWS, REUSE):
            assert last is not None
            assert step - last < rule.every
        if kind == REUSE:
            assert ROWS in kinds[step - rule.repeats : step]
            assert step < steps - 1


def test_kind_of_a_step_stays_however_often_it_is_asked_for():
    refresh = Refresh(RULES["fast"], [10] * 30, frozenset(), frozenset())
    assert [refresh.kind(s) for s in range(30) for _ in range(3)][::3] == _kinds("fast", 30)


@pytest.mark.parametrize("compute", list(RULES))
def test_growth_and_a_stale_slab_ask_for_a_full_pass(compute):
    assert _kinds(compute, 20, rows=[10] * 4 + [11] * 16)[4] != FULL
    assert _kinds(compute, 20, rows=[10] * 4 + [13] * 16)[4] == FULL
    refresh = Refresh(RULES[compute], [10] * 20, frozenset(), frozenset())
    assert [refresh.kind(step) for step in range(3)] == [FULL, FULL, ROWS]
    refresh.note(RULES[compute].stale * 0.9)
    assert refresh.kind(3) != FULL
    refresh.note(RULES[compute].stale * 1.1)
    assert refresh.kind(4) == FULL
    assert refresh.kind(5) == ROWS


def test_restart_begins_with_a_full_pass():
    refresh = Refresh(RULES["balanced"], [10] * 20, frozenset(), frozenset())
    assert [refresh.kind(step) for step in range(4)][-1] == ROWS
    refresh.restart()
    assert refresh.kind(3) == FULL


def _plan(compute, steps, mask, spans=None, **more):
    spans = spans or one_span(steps)
    return plan_passes(compute, [mask] * steps, 2, whole(len(mask)), spans, **more)


def _planned(plan):
    refresh = plan.refresh()
    return [refresh.kind(step) for step in range(len(plan.rows))]


def test_prediction_counts_what_is_computed():
    mask = np.zeros((4, 32, 32), np.float32)
    mask[:, 8:16, 8:16] = 1
    plan = _plan("balanced", 40, mask)
    counts = Counter(_planned(plan))
    share = plan.rows[0] / plan.tokens
    assert share == pytest.approx(4 * 6 * 6 / 1024 + 16 / 1024, abs=0.01)
    expected = (counts[FULL] + counts[ROWS] * (share + 0.02)) / 40
    assert plan.predicted == pytest.approx(expected)
    assert _plan("fast", 40, mask).predicted < plan.predicted < 0.6
    assert plan.active_share == pytest.approx(64 / 1024)


@pytest.mark.parametrize(
    ("compute", "steps", "mask", "solver", "why"),
    [
        ("balanced", 40, np.ones((3, 20, 24), np.float32), "euler", "save"),
        ("fast", 3, square(), "euler", "save"),
        ("fast", 40, square(), "lcm", "fresh noise"),
        ("balanced", 40, square(), "euler_ancestral", "fresh noise"),
    ],
)
def test_dense_where_passes_over_rows_would_not_pay(compute, steps, mask, solver, why):
    plan = _plan(compute, steps, mask, one_span(steps, solver))
    assert (plan.asked, plan.used, plan.kept_tokens) == (compute, DENSE, 0)
    assert why in plan.why
    assert plan.describe().predicted_ratio == 1


def test_stages_and_changes_of_what_is_shown_begin_with_a_full_pass():
    spans = one_span(40)
    spans = [replace(spans[0], stop=18), StageSteps(jobs.Stage(), 18, 30, 1.0, "lcm"),
             replace(spans[0], start=30)]  # fmt: skip
    mask = square((3, 28, 36))
    kinds = _planned(_plan("balanced", 40, mask, spans, changes=frozenset({9})))
    assert kinds[9] == kinds[30] == FULL
    assert set(kinds[18:30]) == {DENSE}


def test_window_without_anything_to_generate_costs_nothing():
    mask = np.zeros((12, 20, 24), np.float32)
    mask[10:, 4:8, 4:10] = 1
    windows = plan_windows(12, jobs.Windows(17, 4, False), 81)
    plan = plan_passes("balanced", [mask] * 40, 2, windows, one_span(40))
    empty = [order.rows(39) == 0 for order in plan.orders]
    assert empty[0]
    assert not empty[-1]
    assert plan.predicted < 1 - sum(empty) / len(empty)


def test_settings_offer_the_rules_and_dense():
    choices = dict(schema.settings(jobs.Sampling))["compute"]["choices"]
    assert list(choices) == [DENSE, *RULES]
    assert dict(schema.settings(jobs.Sampling))["compute"]["default"] == DENSE
