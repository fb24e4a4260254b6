# SPDX-License-Identifier: GPL-3.0-or-later
"""Many jobs in one engine process: outcomes, exit codes, and that one job never stops others."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.engine.folders import make_job, moving_square, noise_plate
from wan_blender.core import job as jobs
from wan_blender.core.errors import Cancelled, DiskFull, EngineError, InvalidJob, JobBusy
from wan_blender.core.lock import Claim
from wan_blender.engine.cli import batch
from wan_blender.engine.cli.batch import Batch
from wan_blender.engine.once import run_once
from wan_blender.engine.watch import Watch
from wan_blender.farm.exports import seal

REPO = Path(__file__).parents[3]


def tiny(folder: Path, **settings) -> Path:
    return make_job(
        folder, noise_plate(5, 32, 48), moving_square(5, 32, 48, 12),
        sampling__steps=1, **settings,
    )  # fmt: skip


def start(*words: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "wan_blender.engine", "run", *map(str, words)],
        cwd=REPO, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(*words: object) -> tuple[int, str, str]:
    child = start(*words)
    out, err = child.communicate(timeout=300)
    return child.returncode, out, err


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "cache"))


def test_batch_runs_what_is_unfinished_in_one_process(tmp_path):
    for name in "abc":
        tiny(tmp_path / "b" / name)
    (tmp_path / "b" / "a" / "job.json").write_text("{")
    with Claim(tmp_path / "b" / "b"):
        code, out, err = run("--batch", tmp_path / "b")
    lines = [json.loads(line) for line in out.splitlines()]
    told = {Path(line["job"]).name: line for line in lines}
    assert {name: line["outcome"] for name, line in told.items()} == {
        "a": "failed", "c": "done", "b": "busy",
    }, err  # fmt: skip
    assert told["a"]["error"]["code"] == "InvalidJob"
    assert (told["b"]["exit_code"], told["c"]["exit_code"]) == (75, 0)
    assert Path(told["c"]["result"], "report.json").is_file()
    assert code == 2
    (tmp_path / "list").write_text(f"{tmp_path / 'b' / 'b'}\n\n{tmp_path / 'b' / 'c'}\n")
    before = jobs.read_events(tmp_path / "b" / "c")
    code, out, err = run("--list", tmp_path / "list")
    assert [json.loads(line)["outcome"] for line in out.splitlines()] == ["done", "skipped"], err
    assert code == 0
    assert jobs.read_events(tmp_path / "b" / "c") == before


def test_one_job_prints_its_report_and_runs_again_unless_unfinished(tmp_path):
    job = tiny(tmp_path / "job")
    for words, runs in ((), 1), ((), 2), (("--unfinished",), 2):
        code, out, err = run(job, *words)
        assert code == 0, err
        assert json.loads(out)["schema"] == jobs.SCHEMA
        assert jobs.read_events(job).count("done") == runs


def test_busy_job_exits_75_or_is_waited_for(tmp_path):
    job = tiny(tmp_path / "job")
    claim = Claim(job)
    code, out, err = run(job)
    assert (code, out) == (75, ""), err
    assert "JobBusy" in err
    child = start(job, "--wait", 200)
    threading.Timer(2.0, claim.close).start()
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err


@pytest.mark.parametrize(
    ("words", "said"),
    [((), "No job is named"), (("--batch", "/nowhere"), "no folder /nowhere"),
     (("--list", "/nowhere"), "/nowhere"), (("a", "b", "--with-and-without"), "takes one JOB")],
)  # fmt: skip
def test_request_that_names_nothing_exits_2(words, said):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM there")
def test_sigterm_ends_the_batch_with_130_and_leaves_the_rest(tmp_path):
    first = tiny(tmp_path / "b" / "0", mask__grow_px=1)
    data = json.loads((first / "job.json").read_text())
    data["sampling"]["steps"] = 900
    (first / "job.json").write_text(json.dumps(data))
    tiny(tmp_path / "b" / "1")
    child = start("--batch", tmp_path / "b")
    for line in child.stderr:
        if "denoising" in line:
            break
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert [json.loads(line)["outcome"] for line in out.splitlines()] == ["cancelled"]
    assert "reading" not in jobs.read_events(tmp_path / "b" / "1")


def test_stopped_worker_that_wakes_after_its_job_was_given_away_stands_back(tmp_path):
    job = tiny(tmp_path / "job")
    given = []

    def give_away(progress):
        if progress.phase == "decoding" and not given:
            given.append((job / "lock").write_text("Process 7 on elsewhere\nother\n"))
            (job / "result.part").mkdir(exist_ok=True)
            (job / "result.part" / "theirs").write_text("x")

    with pytest.raises(JobBusy, match="given to another"):
        run_once(job, Watch(job, give_away))
    assert given
    assert (job / "result.part" / "theirs").exists()
    assert not (job / "result").exists()
    assert jobs.read_events(job)[-1] != "done"


def test_frames_that_were_copied_badly_are_seen_by_their_hash(tmp_path):
    for name in ("whole", "torn"):
        job = tiny(tmp_path / "b" / name)
        shutil.copytree(job / "plate", tmp_path / name / "plate")
        seal(tmp_path / name, jobs.read(job).shot)
        shutil.copy(tmp_path / name / "frames.json", job)
    frame = tmp_path / "b" / "torn" / "plate" / "000002.png"
    data = bytearray(frame.read_bytes())
    data[-20] ^= 1  # of the same length
    frame.write_bytes(data)
    code, out, err = run("--batch", tmp_path / "b")
    told = {Path(line["job"]).name: line for line in map(json.loads, out.splitlines())}
    assert (told["whole"]["outcome"], told["torn"]["outcome"], code) == ("done", "failed", 2), err
    assert "000002.png was changed since it was exported" in told["torn"]["error"]["message"]
    assert not (tmp_path / "b" / "torn" / "result").exists()


# -- the order of things, without an engine


def follow(tmp_path, answers, wait_s=0.0, room=True):
    """The code and outcomes of a batch whose jobs answer in turn: True, False, or an error."""
    out, stop = io.StringIO(), threading.Event()
    told = {name: iter(turns) for name, turns in answers.items()}

    def answer(folder: Path, forget_cancel: bool):
        said = next(told[folder.name])
        if said is KeyboardInterrupt:
            stop.set()
            raise Cancelled
        if isinstance(said, Exception):
            raise said
        return {}, said

    folders = [tmp_path / name for name in answers]
    code = Batch(folders, answer, lambda folder: room, out, stop, wait_s)()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    return code, [(Path(line["job"]).name, line["outcome"]) for line in lines]


def test_worst_outcome_is_the_exit_code(tmp_path):
    bad, bug, busy = InvalidJob("x"), EngineError("x"), JobBusy("x")
    assert follow(tmp_path, {"a": [True], "b": [False]})[0] == 0
    assert follow(tmp_path, {"a": [busy], "b": [True]})[0] == 75
    assert follow(tmp_path, {"a": [busy], "b": [bad], "c": [True]})[0] == 2
    assert follow(tmp_path, {"a": [busy], "b": [bad], "c": [bug]})[0] == 1
    assert follow(tmp_path, {"a": [bug], "b": [Cancelled()], "c": [True]})[0] == 130


def test_busy_job_is_tried_again_after_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "LOOK_AGAIN_S", 0.01)
    answers = {"a": [JobBusy("x"), JobBusy("x"), False], "b": [True]}
    assert follow(tmp_path, answers, wait_s=60) == (0, [("b", "done"), ("a", "skipped")])


def test_full_disk_takes_no_more_jobs_and_a_read_only_folder_does(tmp_path):
    answers = {"a": [DiskFull("x")], "b": [True]}
    assert follow(tmp_path, answers, room=False) == (1, [("a", "failed")])
    answers = {"a": [DiskFull("x")], "b": [True]}
    assert follow(tmp_path, answers, room=True) == (1, [("a", "failed"), ("b", "done")])


def test_interrupt_ends_the_batch(tmp_path):
    answers = {"a": [KeyboardInterrupt], "b": [True]}
    assert follow(tmp_path, answers) == (130, [("a", "cancelled")])


def test_cancel_of_an_earlier_run_is_dropped_and_a_later_one_stands(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    jobs.request_cancel(tmp_path / "a")
    seen = []

    def run(folder, forget_cancel):
        seen.append((folder.name, forget_cancel))
        jobs.request_cancel(tmp_path / "b")
        return {}, True

    Batch(
        [tmp_path / "a", tmp_path / "b"], run, lambda folder: True, io.StringIO(), threading.Event()
    )()
    assert seen == [("a", True), ("b", False)]
