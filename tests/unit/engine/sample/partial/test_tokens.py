# SPDX-License-Identifier: GPL-3.0-or-later
"""Every set of rows holds what a step needs, and is a prefix of the next one's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wan_blender.engine.sample.partial.tokens import NEVER, plan_order, release_steps


def _release(seed, shape, share, steps=5):
    rng = np.random.default_rng(seed)
    release = rng.integers(0, steps, shape).astype(np.int32)
    release[rng.random(shape) > share] = NEVER
    return release


RELEASES = st.builds(
    _release,
    st.integers(0, 99),
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([0.0, 0.05, 0.3, 1.0]),
)


def _neighbours(wanted, ring):
    """By the definition: within the ring along every axis."""
    near = np.zeros_like(wanted)
    for place in np.argwhere(wanted):
        near[tuple(slice(max(at - ring, 0), at + ring + 1) for at in place)] = True
    return near


@given(RELEASES, st.integers(0, 2), st.integers(0, 2))
def test_rows_of_a_step_hold_what_is_free_and_a_ring(release, prefix, ring):
    order = plan_order(release, range(prefix + len(release)), prefix, ring)
    assert sorted(order.order) == list(range(order.tokens))
    references = prefix * release[0].size
    for step in range(6):
        free = release <= step
        rows = order.order[: order.rows(step)]
        if not free.any():
            assert len(rows) == 0
            continue
        needed = np.flatnonzero(_neighbours(free, ring).ravel()) + references
        assert set(needed) <= set(rows)
        assert order.rows(step) >= order.rows(step - 1)
    assert order.active == (release < NEVER).sum()


@given(RELEASES)
def test_canaries_are_background_and_spread(release):
    order = plan_order(release, range(len(release)))
    background = ~_neighbours(release < NEVER, 1).ravel()
    canaries = order.order[: order.canaries]
    assert background[canaries].all()
    if (release < NEVER).any():
        assert order.canaries == min(16, background.sum())


def test_rows_are_few_where_little_is_free():
    """A square of 12 x 13 tokens in the grid of 81 frames at 832 x 480 is computed with its ring:
    16 x 17 tokens on each latent, and the canaries."""
    release = np.full((21, 30, 52), NEVER, np.int32)
    release[:, 9:21, 20:33] = 0
    order = plan_order(release, range(21), ring=2)
    needed = 21 * 16 * 17 + 127
    assert needed <= order.rows(0) <= needed + 2 * (order.tokens // 128 + 1)


def test_references_are_context():
    release = np.zeros((2, 4, 4), np.int32)
    order = plan_order(release, range(3), prefix=1)
    assert (order.order[: order.rows(0)] >= 16).sum() == 32
    assert order.active == 32


def test_window_takes_its_latents_and_the_ring_does_not_reach_over_references():
    release = np.full((6, 8, 8), NEVER, np.int32)
    release[5, 3, 3] = 2
    assert plan_order(release, [0, 1, 2, 3], prefix=1).rows(9) == 0
    order = plan_order(release, [0, 5, 6], prefix=1, ring=2)
    assert order.rows(1) == 0
    assert (order.due == 2).all()
    assert len(order.due) == 2 * 25  # both latents of the window, within the ring


def test_token_is_released_with_the_first_of_its_cells():
    masks = np.zeros((3, 1, 2, 4), np.float32)
    masks[1, 0, 1, 3] = 0.1
    masks[2, 0, :, :] = 1
    assert release_steps(masks, 2).tolist() == [[[2, 1]]]
    assert release_steps(masks[:1], 2).tolist() == [[[NEVER, NEVER]]]
