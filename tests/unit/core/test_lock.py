# SPDX-License-Identifier: GPL-3.0-or-later
"""A job folder belongs to one process at a time, for no longer than that lives."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wan_blender.core.errors import JobBusy
from wan_blender.core.lock import Claim, is_claimed

REPO = Path(__file__).parents[3]
HOLD = (
    "import sys, time; from pathlib import Path; from wan_blender.core.lock import Claim\n"
    "claim = Claim(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
)


@pytest.fixture
def holder(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=REPO, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def test_second_process_is_told_who_holds_the_job(holder, tmp_path):
    with pytest.raises(JobBusy, match=rf"Process {holder.pid} on .*{tmp_path}.*end it there"):
        Claim(tmp_path)
    assert is_claimed(tmp_path)


def test_claim_dies_with_its_owner(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "lock").exists()
    assert not is_claimed(tmp_path)
    with Claim(tmp_path):
        assert is_claimed(tmp_path)
    assert not is_claimed(tmp_path)


def test_one_process_cannot_claim_twice(tmp_path):
    with Claim(tmp_path), pytest.raises(JobBusy, match=str(os.getpid())):
        Claim(tmp_path)


def test_claim_that_was_given_to_another_is_noticed(tmp_path):
    with Claim(tmp_path) as claim:
        claim.check()
        # A file server that lost touch with this machine lets another one lock the file.
        (tmp_path / "lock").write_text("Process 7 on elsewhere\nother\n")
        assert not claim.holds()
        with pytest.raises(JobBusy, match="was given to another process"):
            claim.check()


@pytest.mark.skipif(sys.platform == "win32", reason="flock is what a look takes elsewhere")
def test_who_only_looks_keeps_nobody_off(tmp_path, monkeypatch):
    import fcntl

    lock, looks = fcntl.flock, iter([True, True])

    def flock(file, how):
        if next(looks, False):  # another process looks at this moment
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with Claim(tmp_path) as claim:
        assert claim.holds()
