# SPDX-License-Identifier: GPL-3.0-or-later
from wan_blender.core.errors import UserError
from wan_blender.process.task import Task


class Countdown(Task):
    def __init__(self, left: int) -> None:
        self.left = left

    @property
    def running(self) -> bool:
        return self.left > 0

    def tick(self) -> bool:
        self.left -= 1
        return True

    def close(self) -> None:
        self.left = 0


def test_wait_ticks_to_the_end():
    task = Countdown(3)
    task.wait()
    assert (task.left, task.error) == (0, None)


def test_give_up_ends_it_and_keeps_why():
    task, why = Countdown(1000), UserError("It broke.", "Try again.")
    task.give_up(why)
    assert (task.running, task.error) == (False, why)
    assert Countdown(1).error is None
