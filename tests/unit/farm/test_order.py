# SPDX-License-Identifier: GPL-3.0-or-later
"""Which job comes next, and what becomes of one that failed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.farm_sim import Farm, FirstCome, Pipe, make_work
from wan_blender.farm.order import Failures, Queue, Verdict, Warmth, Work


def filled(*work: Work, load_s: float = 0.0) -> Queue:
    queue = Queue(load_s)
    for one in work:
        queue.add(one)
    return queue


def folders(queue: Queue, warmth: Warmth, held=None) -> list[str]:
    found = []
    while work := queue.take(warmth, held):
        found.append(work.folder)
    return found


def test_model_then_shot_then_longest_comes_first():
    queue = filled(
        Work("a1", "a", "x", 5), Work("b1", "b", "y", 1), Work("b2", "b", "z", 9),
        Work("b3", "b", "y", 2), Work("a2", "a", "x", 7),
    )  # fmt: skip
    assert folders(queue, Warmth("b", "y")) == ["b3", "b1", "b2", "a2", "a1"]


def test_priority_stands_above_what_is_warm():
    queue = filled(Work("warm", "a"), Work("urgent", "b", priority=1))
    assert folders(queue, Warmth("a")) == ["urgent", "warm"]


def test_cold_engine_goes_where_most_waits_for_each_that_holds_the_model():
    work = [Work("a1", "a", cost_s=50), Work("a2", "a", cost_s=50), Work("b1", "b", cost_s=60)]
    assert filled(*work).take(Warmth(), Counter(a=1, b=1)).model == "a"
    assert filled(*work).take(Warmth(), Counter(a=2, b=1)).model == "b"
    assert filled(*work).take(Warmth(), Counter(a=1)).model == "b"


def test_load_that_takes_longer_than_the_work_is_not_begun():
    def queue():
        return filled(Work("a1", "a", cost_s=50), load_s=60)

    assert queue().take(Warmth("b"), Counter(a=1)) is None
    assert queue().take(Warmth("a"), Counter(a=1)).folder == "a1"
    assert queue().take(Warmth("b"), Counter()).folder == "a1"


def test_shared_storage_makes_a_load_longer_for_each_that_loads():
    def take(share, loading):
        queue = Queue(10, share)
        queue.add(Work("a1", "a", cost_s=50))
        return queue.take(Warmth("b"), Counter(a=1), loading)

    assert take(False, 9)
    assert take(True, 3)
    assert take(True, 4) is None


def test_job_that_needs_more_memory_waits_for_an_engine_that_has_it():
    queue = filled(Work("big", "a", "x", 9, gpu_gb=40), Work("small", "a", "x", 1))
    assert folders(queue, Warmth("a", gpu_gb=24)) == ["small"]
    assert len(queue) == 1
    assert queue.take(Warmth("b", gpu_gb=48)).folder == "big"


WORK = st.builds(
    Work, st.uuids().map(str), st.sampled_from("abc"), st.sampled_from("xyz"),
    st.floats(1, 1000), st.integers(-2, 2),
)  # fmt: skip


@given(st.lists(WORK, unique_by=lambda work: work.folder), st.sampled_from(["a", "b", None]))
def test_every_job_is_taken_once_and_none_before_a_higher_priority(work, model):
    queue = filled(*work)
    taken = []
    while one := queue.take(Warmth(model)):
        taken.append(one)
    assert sorted(taken, key=lambda one: one.folder) == sorted(work, key=lambda one: one.folder)
    assert [one.priority for one in taken] == sorted((w.priority for w in work), reverse=True)
    assert len(queue) == 0


def test_failures_are_tried_again_by_their_kind():
    failures = Failures()
    assert [failures.judge("a", "EngineDied") for _ in range(3)] == [
        Verdict.AGAIN, Verdict.AGAIN, Verdict.GIVE_UP,
    ]  # fmt: skip
    assert failures.judge("b", "EngineDied") is Verdict.AGAIN
    assert [failures.judge("a", "OutOfMemory") for _ in range(2)] == [
        Verdict.LARGER, Verdict.GIVE_UP,
    ]  # fmt: skip
    assert {failures.judge("a", "JobBusy") for _ in range(50)} == {Verdict.LATER}
    assert failures.judge("a", "DiskFull") is Verdict.STOP
    for code in ("InvalidJob", "WeightsMissing", "EmptyMask", "Cancelled", "Unheard"):
        assert failures.judge("a", code) is Verdict.GIVE_UP


@pytest.mark.parametrize("preempted", [False, True])
def test_simulated_farm_does_all_jobs_and_loads_less_than_first_come(preempted):
    work = make_work(200)
    ours = Farm(Queue(10, True), 10, Pipe(3, False), preempted, True).run(work)
    other = Farm(FirstCome(), 10, Pipe(3, False), preempted, True).run(work)
    assert ours.loads < other.loads / 3
    assert ours.utilisation > other.utilisation
    spent_s = ours.utilisation * 10 * ours.hours * 3600
    assert spent_s == pytest.approx(sum(one.cost_s for one in work))
