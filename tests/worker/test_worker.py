# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as a real child process, spoken to over its pipes."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.engine.folders import make_job, moving_square, noise_plate
from wan_blender.core import job as jobs
from wan_blender.core import protocol
from wan_blender.core.result import find_result

ROOT = Path(__file__).parents[2]


class Engine:
    def __init__(self, *arguments: str) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "wan_blender.engine", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        for pipe in (self.child.stdin, self.child.stdout, self.child.stderr):
            pipe.close()
        self.child.wait()

    def send(self, message) -> None:
        self.child.stdin.write(protocol.encode(message) + "\n")
        self.child.stdin.flush()

    def read(self):
        return protocol.decode(self.child.stdout.readline())

    def read_until(self, *kinds):
        while not isinstance(message := self.read(), kinds):
            pass
        return message


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "tensors"))
    with Engine("serve") as engine:
        assert isinstance(engine.read(), protocol.Hello)
        yield engine


def _job(folder, steps=2, frames=5):
    return make_job(
        folder, noise_plate(frames, 32, 32), moving_square(frames, 32, 32, 12),
        sampling__steps=steps,
    )  # fmt: skip


def test_two_jobs_run_one_after_the_other_and_report(engine, tmp_path):
    folders = [_job(tmp_path / "a b é"), _job(tmp_path / "c")]
    for folder in folders:
        engine.send(protocol.Run(str(folder)))
    for folder in folders:
        done = engine.read_until(protocol.Done, protocol.Failed)
        assert isinstance(done, protocol.Done), done
        assert Path(done.job) == folder
        assert done.report.max_diff_outside == 0
        assert find_result(folder)


def test_cancel_stops_a_running_job_within_a_step(engine, tmp_path):
    folder = _job(tmp_path / "long", steps=1000)
    engine.send(protocol.Run(str(folder)))
    while not (isinstance(m := engine.read(), protocol.Progress) and m.phase == "denoising"):
        pass
    engine.send(protocol.Cancel(str(folder)))
    steps = []
    while isinstance(m := engine.read(), (protocol.Progress, protocol.Heartbeat)):
        if isinstance(m, protocol.Progress):
            steps.append(m.step)
    assert isinstance(m, protocol.Failed)
    assert m.error["code"] == "Cancelled"
    assert len(steps) < 500
    engine.send(protocol.Run(str(_job(tmp_path / "next"))))
    assert isinstance(engine.read_until(protocol.Done, protocol.Failed), protocol.Done)


def test_cancel_drops_a_waiting_job(engine, tmp_path):
    first, second = _job(tmp_path / "a", steps=30), _job(tmp_path / "b")
    engine.send(protocol.Run(str(first)))
    engine.send(protocol.Run(str(second)))
    engine.send(protocol.Cancel(str(second)))
    assert isinstance(engine.read_until(protocol.Done, protocol.Failed), protocol.Done)
    failed = engine.read_until(protocol.Done, protocol.Failed)
    assert isinstance(failed, protocol.Failed)
    assert failed.error["code"] == "Cancelled"
    assert find_result(second) is None


def test_failures_are_messages_and_the_engine_goes_on(engine, tmp_path):
    engine.send(protocol.Run(str(tmp_path / "nowhere")))
    failed = engine.read_until(protocol.Failed)
    assert failed.error["code"] == "InvalidJob"
    engine.child.stdin.write("not a message\n")
    engine.send(protocol.Check(str(_job(tmp_path / "a"))))
    assert isinstance(engine.read_until(protocol.Checked), protocol.Checked)


def test_end_of_stdin_ends_the_engine_even_in_a_job(engine, tmp_path):
    engine.send(protocol.Run(str(_job(tmp_path / "long", steps=1000))))
    engine.read_until(protocol.Progress)
    engine.child.stdin.close()
    assert engine.child.wait(timeout=60) == 0
    assert find_result(tmp_path / "long") is None


def test_killed_engine_leaves_a_job_that_runs_again(engine, tmp_path):
    folder = _job(tmp_path / "a", steps=1000)
    engine.send(protocol.Run(str(folder)))
    while not (isinstance(m := engine.read(), protocol.Progress) and m.phase == "denoising"):
        pass
    engine.child.send_signal(signal.SIGKILL)
    engine.child.wait()
    assert find_result(folder) is None
    data = json.loads((folder / "job.json").read_text())
    data["sampling"]["steps"] = 1
    (folder / "job.json").write_text(json.dumps(data))
    with Engine("run", str(folder)) as again:
        out, _ = again.child.communicate()
    assert again.child.returncode == 0
    assert json.loads(out)["max_diff_outside"] == 0


def test_job_that_runs_is_not_run_by_another_process(engine, tmp_path):
    folder = _job(tmp_path / "a", steps=1000)
    engine.send(protocol.Run(str(folder)))
    while not (isinstance(m := engine.read(), protocol.Progress) and m.phase == "denoising"):
        pass
    with Engine("run", str(folder)) as other:
        out, err = other.child.communicate()
    assert (other.child.returncode, out) == (75, "")  # EX_TEMPFAIL
    assert f"JobBusy: Process {engine.child.pid} on" in err
    assert isinstance(engine.read(), (protocol.Progress, protocol.Heartbeat))
    assert _events(folder)[-1] != "failed"


def test_job_whose_host_is_gone_counts_as_interrupted(engine, tmp_path):
    running, waiting = _job(tmp_path / "a", steps=1000), _job(tmp_path / "b")
    for folder in (running, waiting):
        engine.send(protocol.Run(str(folder)))
    while not (isinstance(m := engine.read(), protocol.Progress) and m.phase == "denoising"):
        pass
    engine.child.stdin.close()
    assert engine.child.wait(timeout=60) == 0
    assert _events(running)[-1] == _events(waiting)[-1] == "interrupted"


def _events(folder):
    lines = (folder / "state.jsonl").read_text().splitlines()
    return [json.loads(line)["event"] for line in lines]


def test_run_ignores_the_cancel_of_a_run_before(tmp_path):
    folder = _job(tmp_path / "a", steps=1)
    jobs.request_cancel(folder)
    with Engine("run", str(folder)) as engine:
        _, err = engine.child.communicate()
    assert engine.child.returncode == 0, err


def test_folder_that_holds_no_job_is_left_as_it_is(tmp_path):
    for command in ("run", "check"):
        with Engine(command, str(tmp_path)) as engine:
            _, err = engine.child.communicate()
        assert engine.child.returncode == 2
        assert "is not a job folder" in err
    assert list(tmp_path.iterdir()) == []


def test_prints_of_libraries_do_not_reach_the_protocol(tmp_path):
    code = (
        "import sys; from wan_blender.core.console import claim_stdout; out = claim_stdout();"
        "print('noise'); import os; os.write(1, b'more noise\\n');"
        "out.write('clean\\n'); out.flush()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "clean\n"
    assert "noise" in done.stderr


@pytest.mark.parametrize(
    ("spoil", "code"),
    [(None, 0), ("schema", 2), ("mask", 2)],
)
def test_run_exits_with_the_kind_of_its_end(tmp_path, spoil, code):
    folder = _job(tmp_path / "a")
    if spoil == "schema":
        (folder / "job.json").write_text('{"schema": 99}')
    if spoil == "mask":
        (folder / "mask" / "000002.png").unlink()
    with Engine("run", str(folder)) as engine:
        out, err = engine.child.communicate()
    assert engine.child.returncode == code, err
    assert bool(out) == (code == 0)
    if code:
        assert "Traceback" not in err


def test_interrupt_cancels_run_with_130(tmp_path):
    folder = _job(tmp_path / "a", steps=1000)
    with Engine("run", str(folder)) as engine:
        for line in engine.child.stderr:
            if "denoising" in line:
                break
        engine.child.send_signal(signal.SIGINT)
        _, err = engine.child.communicate()
    assert engine.child.returncode == 130, err
    assert find_result(folder) is None


@pytest.mark.parametrize("sent", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM]])
def test_signals_end_a_run_in_the_middle_of_a_long_call(sent):
    code = (
        "import hashlib; from wan_blender.engine import signals; signals.GRACE_S = 0.1;"
        "signals.listen(); print('began', flush=True);"
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"  # many minutes, without a bytecode
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    ) as child:  # fmt: skip
        try:
            child.stdout.readline()
            for number in sent:
                child.send_signal(number)
                child.stderr.readline()  # which says that it was heard; at its end nothing
            assert child.wait(timeout=60) == 130
        finally:
            child.kill()


def test_run_says_each_failure_once_and_prints_little(tmp_path):
    folder = _job(tmp_path / "a", steps=1)
    with Engine("run", str(folder)) as engine:
        _, err = engine.child.communicate()
    assert "loading" in err
    assert len([line for line in err.splitlines() if "loading text encoder" in line]) < 10
    (folder / "mask" / "000002.png").unlink()
    with Engine("run", str(folder)) as engine:
        _, err = engine.child.communicate()
    assert err.count("000002.png is missing") == 1


def test_heartbeat_comes_while_a_step_runs(engine, tmp_path):
    folder = _job(tmp_path / "a", steps=1000)
    engine.send(protocol.Run(str(folder)))
    beat = engine.read_until(protocol.Heartbeat)
    while not beat.busy:
        beat = engine.read_until(protocol.Heartbeat)
    assert Path(beat.busy) == folder
    assert beat.memory_gb > 0


def test_doctor_and_check_answer_on_stdout(tmp_path):
    for arguments in (("doctor",), ("check", str(_job(tmp_path / "a")))):
        with Engine(*arguments) as engine:
            out, err = engine.child.communicate()
        assert engine.child.returncode == 0, err
        assert out


def test_errors_of_check_are_json_for_programs_and_sentences_in_a_terminal(tmp_path):
    missing = str(tmp_path / "missing")
    with Engine("check", missing) as engine:
        _, err = engine.child.communicate()
    assert json.loads(err)["error"]["code"] == "InvalidJob"
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "wan_blender.engine", "check", missing]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, cwd=ROOT, check=False)
    os.close(theirs)
    assert done.returncode == 2
    assert os.read(ours, 10_000).decode().startswith("InvalidJob: ")
    os.close(ours)


def test_full_disk_is_said_and_leaves_no_half_result(small_disk, tmp_path, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "tensors"))
    mask = np.full((5, 128, 128), 65535, np.uint16)
    folder = make_job(
        small_disk(400) / "job", noise_plate(5, 128, 128), mask, sampling__steps=1,
        output__full_frames=True,
    )  # fmt: skip
    with Engine("run", str(folder)) as engine:
        _, err = engine.child.communicate()
    assert engine.child.returncode == 1, err
    assert "DiskFull: The disk is full" in err
    assert "Traceback" not in err
    assert sorted(p.name for p in folder.iterdir() if "result" in p.name) == []


@pytest.mark.parametrize("command", ["run", "check"])
def test_read_only_job_is_checked_and_refused_to_run(small_disk, make_read_only, command):
    disk = small_disk(400)
    folder = _job(disk / "job")
    make_read_only(disk)
    with Engine(command, str(folder)) as engine:
        out, err = engine.child.communicate()
    assert "Traceback" not in err
    if command == "check":
        assert json.loads(out)["mask"]["frames"] == 5
    else:
        assert engine.child.returncode == 1
        assert "cannot be written" in err
