# SPDX-License-Identifier: GPL-3.0-or-later
"""The short form of 20,000 jobs in one engine."""

from contextlib import contextmanager
from types import SimpleNamespace

from campaigns import endless


def test_few_jobs_in_one_engine_leave_nothing_behind(unbroken):
    @contextmanager
    def attempts(work):
        with endless.attempts(work, warm_up=30) as attempt:
            yield attempt

    short = SimpleNamespace(COUNT=60, attempts=attempts)
    told = unbroken("endless", short, 60)
    assert told.kinds == {"done": 60}
    assert told.worst["grown descriptors"] <= 0


def test_growth_is_counted_from_the_end_of_the_warm_up():
    meter = endless.Meter(warm_up=3)
    held = {"MB": 100.0, "threads": 5.0}
    assert [meter.note(held) for _ in range(2)] == [{}, {}]
    assert meter.note(held) == {"MB": 0, "threads": 0}
    for _ in range(endless.LAST):
        grown = meter.note({"MB": 130.0, "threads": 6.0})
    assert grown == {"MB": 30.0, "threads": 1.0}
