# SPDX-License-Identifier: GPL-3.0-or-later
"""A stuck run is told from a slow one by what the same phase usually takes."""

import pytest

from wan_blender.core import watchdog
from wan_blender.core.watchdog import LEAST_S, TIMES, UNKNOWN_S, Watchdog


@pytest.fixture
def clock(monkeypatch):
    """``clock(5)``: five seconds later, looked at every second."""
    now = [1000.0]
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now[0])

    def later(seconds, dog=None):
        for _ in range(int(seconds)):
            now[0] += 1
            if dog:
                dog.stuck()
        now[0] += seconds - int(seconds)

    later.jump = lambda seconds: now.__setitem__(0, now[0] + seconds)
    return later


def test_first_step_has_time_for_a_compile(clock):
    dog = Watchdog()
    dog.begin()
    dog.saw("denoising", 0)
    clock(UNKNOWN_S - 1, dog)
    assert not dog.stuck()
    clock(2, dog)
    assert "no progress for 3601 s (denoising)" in dog.stuck()


def test_later_steps_are_measured_by_the_longest_of_the_run(clock):
    dog = Watchdog()
    dog.begin()
    dog.saw("denoising", 0)
    clock(100, dog)
    dog.saw("denoising", 1)
    assert dog.limit_s == TIMES * 100
    clock(TIMES * 100 + 1, dog)
    assert "(denoising, step 1)" in dog.stuck()


def test_quick_steps_still_have_a_while(clock):
    dog = Watchdog()
    dog.begin()
    dog.saw("decoding", 0)
    clock(1, dog)
    dog.saw("decoding", 1)
    clock(LEAST_S, dog)
    assert not dog.stuck()


def test_earlier_runs_teach_the_next_and_a_bad_file_teaches_nothing(clock, tmp_path):
    file = tmp_path / "pauses.json"
    dog = Watchdog(file)
    dog.begin()
    dog.saw("loading", 0)
    clock(50, dog)
    dog.end()
    assert Watchdog(file)._longest == {"loading": 50.0}
    for text in ("{", "[]", '{"loading": "long", "text": 1e30, "reading": -1}'):
        file.write_text(text)
        assert Watchdog(file)._longest == {}


def test_sleep_of_the_machine_is_no_pause(clock):
    dog = Watchdog()
    dog.begin()
    dog.saw("denoising", 3)
    clock(10, dog)
    clock.jump(8 * 3600)
    assert not dog.stuck()
