# SPDX-License-Identifier: GPL-3.0-or-later
import threading

import pytest

from wan_blender.core.errors import Cancelled, DiskFull, UserError
from wan_blender.install import installation


def test_last_line_is_shown_and_the_end_is_seen():
    go_on = threading.Event()

    def work(tell, cancelled):
        tell("fetching torch\n")
        tell("  ")
        go_on.wait(10)

    task = installation.Installation(work)
    while task.says != "fetching torch":
        assert task.running
    go_on.set()
    task.wait()
    assert (task.running, task.error, task.says) == (False, None, "fetching torch")


def test_cancel_reaches_the_installer():
    def work(tell, cancelled):
        assert cancelled.wait(10)
        raise Cancelled()

    task = installation.Installation(work)
    task.cancel()
    task.wait()
    assert task.error is None
    assert task.outcome.startswith("Stopped")


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [(DiskFull("full", "free some"), DiskFull, "full"), (KeyError("x"), UserError, "KeyError")],
)
def test_what_stopped_it_is_kept(raised, kind, words):
    def work(tell, cancelled):
        raise raised

    task = installation.Installation(work)
    task.wait()
    assert isinstance(task.error, kind)
    assert words in str(task.error)


def test_close_ends_a_running_installation(monkeypatch, tmp_path):
    ended = []

    def install(home, recipe, tell, cancelled):
        cancelled.wait(10)
        ended.append(cancelled.is_set())
        raise Cancelled()

    monkeypatch.setattr(installation.environment, "install", install)
    installation.start(tmp_path, "cpu", True, None).close()
    assert ended == [True]


def test_removal_waits_for_the_engine_and_does_not_hold_up_the_end(tmp_path):
    (tmp_path / "engines").mkdir()
    ends = threading.Event()
    task = installation.remove(tmp_path, ends.wait)
    assert not task.stoppable
    task.close()
    assert task.running
    assert (tmp_path / "engines").exists()
    ends.set()
    task.wait()
    assert not (tmp_path / "engines").exists()


def test_what_was_made_is_told_after_the_end():
    task = installation.Installation(lambda tell, cancelled: "The folder is complete.")
    task.wait()
    assert (task.outcome, task.error) == ("The folder is complete.", None)
