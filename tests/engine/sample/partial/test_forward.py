# SPDX-License-Identifier: GPL-3.0-or-later
"""A call over rows makes what the whole model makes, on the rows."""

import pytest
import torch

from tests.engine.sample.partial.shots import KINDS, SHAPE, inputs, model, one_span, square, whole
from wan_blender.engine.models.files.lora import Delta, Lora, set_loras
from wan_blender.engine.sample.partial.passes import Passes
from wan_blender.engine.sample.partial.plan import plan_passes

STEPS = 40  # 0 and 1 are full, 2 computes rows


def _passes(mask=None, compute="balanced"):
    masks = [square() if mask is None else mask] * STEPS
    plan = plan_passes(compute, masks, 2, whole(SHAPE[0]), one_span(STEPS))
    assert plan.used == compute
    return Passes(plan)


def _error(got, expected):
    return float((got - expected).abs().max() / expected.abs().max())


def _is_free(clip):
    return torch.from_numpy(square())[None, None].expand_as(clip) > 0


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_full_pass_equals_the_models_own_call(kind, batch):
    given = inputs(kind, batch=batch)
    (expected,) = model(kind)(**given, return_dict=False)
    (got,) = _passes().call(model(kind), 0)(**given, return_dict=False)
    assert got.shape == expected.shape
    assert _error(got, expected) <= 1e-6


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_over_a_fresh_slab_equal_the_models_own_call(kind, batch):
    """Two things at once: rows see everything, and only they are computed."""
    given, passes = inputs(kind, batch=batch), _passes()
    (expected,) = model(kind)(**given, return_dict=False)
    passes.call(model(kind), 1)(**given)
    counted = []
    hook = model(kind).blocks[1].register_forward_pre_hook(lambda _, x: counted.append(x[0].shape))
    (got,) = passes.call(model(kind), 2)(**given)
    hook.remove()
    assert counted == [(batch, passes.plan.orders[0].rows(2), 64)]
    assert counted[0][1] < 0.6 * passes.plan.tokens
    assert _error(got, expected) <= 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_rows_follow_their_input_and_the_rest_stays(kind):
    """The input changes where it is free. With a single layer the keys and values of all other
    tokens are as they were, so the rows are exact."""
    made, given, passes = model(kind, layers=1), inputs(kind), _passes()
    if kind == "vace":
        given["control_hidden_states_scale"] = given["control_hidden_states_scale"][:1]
    passes.call(made, 1)(**given)
    (before,) = made(**given, return_dict=False)
    moved = {**given, "hidden_states": given["hidden_states"].clone()}
    free = _is_free(moved["hidden_states"])
    moved["hidden_states"][free] += 0.3 * torch.randn(int(free.sum()))
    (expected,) = made(**moved, return_dict=False)
    (got,) = passes.call(made, 2)(**moved)
    free = _is_free(got)
    assert _error(got[free], expected[free]) <= 1e-6
    assert (expected - before)[free].abs().max() > 0.1
    far = torch.zeros(SHAPE, dtype=torch.bool)
    far[0, :2, -2:] = True  # outside the ring, and no canary
    order = passes.plan.orders[0]
    assert 11 not in order.order[: order.rows(2)]
    assert torch.allclose(got[:, :, far], before[:, :, far], atol=1e-5)


def test_loras_of_every_kind_are_heard():
    kind = "vace"
    made, given = model(kind), inputs(kind)
    deltas = {
        "patch_embedding": Delta(full=0.1 * torch.randn(64, 16, 1, 2, 2)),
        "blocks.1.attn1.to_k": Delta(down=torch.randn(4, 64), up=0.1 * torch.randn(64, 4)),
        "blocks.2.attn1.norm_q": Delta(full=0.3 * torch.randn(64)),
        "vace_blocks.0.attn1.to_v": Delta(down=torch.randn(4, 64), up=0.1 * torch.randn(64, 4)),
        "scale_shift_table": Delta(full=0.3 * torch.randn(1, 2, 64)),
    }
    (plain,) = made(**given, return_dict=False)
    set_loras(made, [(Lora("", deltas, ()), 1.0)])
    try:
        (expected,) = made(**given, return_dict=False)
        passes = _passes()
        (full,) = passes.call(made, 1)(**given)
        (rows,) = passes.call(made, 2)(**given)
    finally:
        set_loras(made, [])
    assert _error(plain, expected) > 0.05
    assert _error(full, expected) <= 1e-6
    assert _error(rows, expected) <= 1e-6


def test_model_is_as_it_was_after_a_pass_and_after_one_that_failed():
    made, given = model("vace"), inputs("vace")
    blocks = [*made.blocks, *made.vace_blocks]
    before = [block.attn1.processor for block in blocks]
    passes = _passes()
    passes.call(made, 0)(**given)
    assert [block.attn1.processor for block in blocks] == before

    def fail(*_):
        raise MemoryError

    hook = made.blocks[1].register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        passes.call(made, 0)(**given)
    hook.remove()
    assert [block.attn1.processor for block in blocks] == before
