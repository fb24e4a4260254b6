# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole run over rows: what is kept stays exact, what is generated is near the dense run."""

import gc
import weakref
from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.sample.partial.shots import inputs, model, one_span, square, whole
from wan_blender.core import schema
from wan_blender.core import settings as jobs
from wan_blender.engine.conditioning.text import TextOnly, guided_velocity
from wan_blender.engine.sample.loop import MaskedSource, denoise, make_noise
from wan_blender.engine.sample.partial import plan as planning
from wan_blender.engine.sample.partial.passes import NOTHING, Passes
from wan_blender.engine.sample.partial.plan import plan_passes
from wan_blender.engine.sample.partial.refresh import DENSE, FULL, REUSE, ROWS
from wan_blender.engine.sample.release import make_law
from wan_blender.engine.sample.windows import plan_windows, predict_in_windows
from wan_blender.schedule.noise import make_sigmas
from wan_blender.schedule.stages import StageSteps

SOLVERS = list(dict(schema.settings(jobs.Sampling))["solver"]["choices"])
LAWS = list(dict(schema.settings(jobs.Mask))["law"]["choices"])


def _run(compute, mask, steps=12, solver="euler", law="release", windows=None, splits=(),
         guidance=3.0, at_once=False, prefix=0):  # fmt: skip
    """(final latents, source, passes) of a run of the tiny T2V; ``splits`` are where stages
    begin, each with another model."""
    windows = windows or whole(len(mask))
    sigmas = make_sigmas("shifted", steps, 3.0).tolist()
    clip = torch.from_numpy(mask)[None, None]
    edges = [0, *splits, steps]
    spans = [StageSteps(jobs.Stage(), a, b, guidance, solver) for a, b in pairwise(edges) if a < b]
    starts = [span.start for span in spans]
    rule = make_law(law, clip, sigmas, 3.0, 0.25, starts)
    masks = [rule(step)[0, 0].numpy() for step in range(steps)]
    plan = plan_passes(compute, masks, 2, windows, spans, prefix)
    passes = Passes(plan)
    clip = torch.cat([torch.ones_like(clip[:, :, :1]).repeat(1, 1, prefix, 1, 1), clip], 2)
    z = torch.randn(1, 16, *clip.shape[2:], generator=torch.Generator().manual_seed(5))
    source = MaskedSource(z, make_noise(tuple(z.shape), 7), clip)
    law_of_run = make_law(law, clip, sigmas, 3.0, 0.25, starts)
    texts = inputs("t2v", 1)["encoder_hidden_states"], inputs("t2v", 2)["encoder_hidden_states"]
    condition, state = TextOnly(None, None), None
    for index, span in enumerate(spans):
        made = model("t2v", index % 2)

        def predict(x, level, step, made=made, span=span):
            def one(x, level, latents, number):
                call = passes.call(made, step, number)
                return guided_velocity(
                    call, condition, *texts, span.guidance, x, level, latents, at_once
                )

            return predict_in_windows(one, windows, prefix, x, level)

        passes.begin()
        state = denoise(predict, source, sigmas, law_of_run, solver, 3, state, span.stop)
    return state.x, source, passes


def _soft(seed, shape, share):
    rng = np.random.default_rng(seed)
    mask = rng.choice([0.0, 0.25, 0.7, 1.0], (shape[0], shape[1] // 2, shape[2] // 2))
    mask *= rng.random(mask.shape) < share
    return mask.repeat(2, 1).repeat(2, 2).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 99),
    share=st.sampled_from([0.01, 0.05]),
    compute=st.sampled_from(["balanced", "fast"]),
    solver=st.sampled_from(SOLVERS),
    law=st.sampled_from(LAWS),
    frames=st.sampled_from([0, 13, 17]),
    anchor=st.booleans(),
    splits=st.sets(st.integers(1, 8), max_size=2).map(sorted),
    at_once=st.booleans(),
    guidance=st.sampled_from([1.0, 3.0]),
    prefix=st.sampled_from([0, 1]),
)
def test_what_is_kept_equals_the_source_exactly(
    seed, share, compute, solver, law, frames, anchor, splits, at_once, guidance, prefix
):
    mask = _soft(seed, (6, 12, 16), share)
    windows = plan_windows(6, jobs.Windows(frames, 4, anchor), 81)
    with mock.patch.object(planning, "WORTH", 0):
        x, source, passes = _run(
            compute, mask, 9, solver, law, windows, splits, guidance, at_once, prefix
        )
    kept = (source.mask == 0).expand_as(x)
    assert torch.equal(x[kept], source.z[kept])
    assert torch.isfinite(x).all()
    assert set(passes.describe().passes) <= {FULL, ROWS, REUSE, NOTHING}


def _change(x, dense, source):
    free = (source.mask > 0).expand_as(x)
    return float((x - dense)[free].norm() / (dense - source.z)[free].norm())


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("solver", ["euler", "heun", "unipc"])
def test_result_is_near_the_dense_one(solver, at_once):
    mask = square()
    dense, source, passes = _run(DENSE, mask, 20, solver, at_once=at_once)
    assert passes.describe().passes == {}
    for compute, limit in (("balanced", 0.15), ("fast", 0.3)):
        x, _, passes = _run(compute, mask, 20, solver, at_once=at_once)
        said = passes.describe()
        assert said.used == compute
        assert said.passes[ROWS] > 0
        assert 0 < _change(x, dense, source) < limit
        assert 0 < said.staleness.mean <= said.staleness.max < 2
        assert said.actual_ratio > 0  # a timing: measured, not judged


def test_passes_are_counted_for_each_branch_and_window():
    mask = np.zeros((6, 20, 24), np.float32)
    mask[4:, 4:8, 4:10] = 1
    windows = plan_windows(6, jobs.Windows(9, 4, False), 81)
    _, _, passes = _run("balanced", mask, 20, windows=windows)
    busy = sum(order.rows(19) > 0 for order in passes.plan.orders)
    assert 0 < busy < len(windows)
    counted = passes.describe().passes
    assert counted[ROWS] + counted[FULL] == 2 * busy * 20
    assert counted[ROWS] > 0


def test_window_that_is_set_free_late_begins_with_a_full_pass():
    mask = np.zeros((6, 20, 24), np.float32)
    mask[0, 4:8, 4:8] = 1
    mask[5, 4:6, 4:6] = 0.3
    windows = plan_windows(6, jobs.Windows(9, 4, False), 81)
    dense, source, _ = _run(DENSE, mask, 20, windows=windows)
    x, _, passes = _run("balanced", mask, 20, windows=windows)
    assert passes.plan.used == "balanced"
    assert _change(x, dense, source) < 0.15


def test_without_a_plan_every_call_is_the_models_own():
    made = model("t2v")
    passes = Passes(None)
    passes.begin()
    assert passes.call(made, 3, 2) is made


def test_model_of_a_class_that_is_not_known_is_left_alone():
    passes = Passes(plan_passes("balanced", [square()] * 40, 2, whole(3), one_span(40)))
    other = torch.nn.Identity()
    assert passes.call(other, 0) is other


def test_slabs_are_let_go_where_there_is_no_memory_for_them():
    made = model("t2v")
    passes = Passes(plan_passes("balanced", [square()] * 40, 2, whole(3), one_span(40)))
    passes.begin()
    passes.call(made, 0)(**inputs("t2v"))
    branch = weakref.ref(next(iter(passes._branches.values())))
    passes.begin(may_keep=False)
    gc.collect()
    assert branch() is None
    assert passes.call(made, 1) is made
    said = passes.describe()
    assert said.used == DENSE
    assert "memory" in said.why


def test_slab_that_is_stale_is_renewed():
    """The clip is another one at every step: canaries tell, and all passes become full."""
    made = model("t2v")
    passes = Passes(plan_passes("balanced", [square()] * 40, 2, whole(3), one_span(40)))
    passes.begin()
    for step in range(8):
        passes.call(made, step)(**inputs("t2v", seed=step))
    assert passes.describe().passes == {FULL: 5, ROWS: 3}
