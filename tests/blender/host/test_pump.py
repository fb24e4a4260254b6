# SPDX-License-Identifier: GPL-3.0-or-later
"""The one timer: whom it ticks, when it draws, and what holds it back. No window is needed."""

import pytest


@pytest.fixture
def pump(part):
    return part("host.pump")


@pytest.fixture
def make(part):
    """``make(left)``: a task that ends after ``left`` ticks."""

    class Countdown(part("process.task").Task):
        tick_s = 0.0

        def __init__(self, left):
            self.left, self.ticks, self.bug = left, 0, None

        @property
        def running(self):
            return self.left > 0

        def tick(self):
            self.ticks += 1
            if self.bug:
                raise self.bug
            before, self.left = self.left, max(self.left - 1, 0)
            return self.left != before

        def close(self):
            self.left = 0

    return Countdown


def run(pump, rounds=10):
    for _ in range(rounds):
        if pump.tick() is None:
            return


def test_each_task_is_ticked_until_it_ends_and_drawn_when_it_says_so(pump, make):
    one, two, drawn = make(1), make(4), []
    pump.follow(one, lambda: drawn.append(one))
    pump.follow(two, lambda: drawn.append(two))
    run(pump)
    assert pump.tick() is None
    assert (one.left, two.left) == (0, 0)
    assert drawn.count(one) == 1
    assert drawn.count(two) == 4


def test_the_end_of_a_task_is_drawn_though_it_came_after_the_tick(pump, make):
    class EndsInAThread(make):
        running = property(lambda self: self.ticks == 0)

        def tick(self):
            self.ticks += 1
            return self.ticks == 2  # the first finds nothing new

    task, drawn = EndsInAThread(1), []
    pump.follow(task, lambda: drawn.append(task))
    run(pump)
    assert drawn == [task]
    assert pump.tick() is None


def test_a_task_is_left_alone_for_as_long_as_it_says(pump, make):
    task = make(5)
    task.tick_s = 1000.0
    pump.follow(task, lambda: None)
    assert 990 < pump.tick() <= 1000
    pump.tick()
    assert task.ticks == 1
    pump.follow(task, lambda: None)  # something was asked of it
    pump.tick()
    assert task.ticks == 2


def test_a_bug_in_one_task_ends_it_and_no_other(pump, make, capsys):
    good, bad = make(3), make(3)
    bad.bug = KeyError("x")
    pump.follow(bad, lambda: None)
    pump.follow(good, lambda: None)
    run(pump)
    assert (bad.ticks, good.left) == (1, 0)
    assert "KeyError: 'x'" in str(bad.error)
    assert "Traceback" in capsys.readouterr().err


def test_what_edits_the_file_waits_for_a_render_and_a_save(pump, make):
    editing, reading = make(3), make(3)
    editing.edits_file = True
    for hold, release in (
        (pump._hold_render, pump._release_render),
        (pump._hold_save, pump._release_save),
    ):
        before = editing.ticks
        hold()
        pump.follow(editing, lambda: None)
        pump.follow(reading, lambda: None)
        assert pump.tick() is not None
        assert editing.ticks == before
        release()
        pump.follow(editing, lambda: None)
        pump.tick()
        assert editing.ticks == before + 1
    assert reading.ticks >= 2
