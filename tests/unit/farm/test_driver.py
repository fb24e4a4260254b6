# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch on engines of this machine: real child processes that speak the protocol, no torch."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from wan_blender.core import job as jobs
from wan_blender.core import protocol, settings
from wan_blender.core.errors import BadRequest, DiskFull, EngineMissing, JobBusy
from wan_blender.core.result import find_result
from wan_blender.farm import driver as driving
from wan_blender.farm.__main__ import main
from wan_blender.farm.driver import Driver, hold_batch
from wan_blender.farm.engines import start_local
from wan_blender.farm.exports import CellNote
from wan_blender.farm.status import read_status

REPO = Path(__file__).parents[3]
STUB = "tests.unit.stub_engine"


def make(folder: Path, prompt: str = "a kite", **model) -> Path:
    shot = settings.Shot(width=8, height=8, frame_count=1)
    made = settings.Job(shot, settings.Prompt(prompt), settings.Model(**model))
    (folder / jobs.PLATE).mkdir(parents=True)
    (folder / jobs.PLATE / "000000.png").write_bytes(b"png")
    return jobs.create(folder, made)


class Batch:
    """Runs the jobs below ``folder`` and collects what is told of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told, self.errors = folder, [], {}
        self.stop = threading.Event()
        self.engines = []

    def tell(self, folder, outcome, error) -> None:
        self.told.append((Path(folder).name, outcome))
        self.errors[Path(folder).name] = error
        self.on_tell(Path(folder).name)

    def on_tell(self, name) -> None:
        pass

    def run(self, count: int = 2, **options) -> int:
        options = {"module": STUB, **options}
        self.engines = start_local(count, Path(sys.executable), self.folder / ".logs", **options)
        try:
            return Driver(self.folder, self.engines, self.tell).run(self.stop)
        finally:
            for engine in self.engines:
                engine.stop()


@pytest.fixture
def batch(tmp_path):
    return Batch(tmp_path / "b")


def test_every_job_is_done_once_and_a_second_run_does_nothing(batch):
    for number in range(8):
        make(batch.folder / str(number))
    assert batch.run() == 0
    assert sorted(batch.told) == [(str(number), "done") for number in range(8)]
    batch.told.clear()
    assert batch.run() == 0
    assert {outcome for _, outcome in batch.told} == {"skipped"}


def test_bad_jobs_are_told_and_do_not_stop_others(batch):
    make(batch.folder / "good")
    make(batch.folder / "short of memory", "fail")
    (make(batch.folder / "broken") / "job.json").write_text("{")
    assert batch.run() == 1
    assert dict(batch.told) == {"good": "done", "short of memory": "failed", "broken": "failed"}
    assert batch.errors["short of memory"]["code"] == "OutOfMemory"
    assert batch.errors["broken"]["code"] == "InvalidJob"


def test_job_that_kills_its_engine_is_given_up_and_the_others_are_done(batch):
    make(batch.folder / "0 killer", "die")
    for number in range(1, 4):
        make(batch.folder / str(number))
    assert batch.run(2) == 1
    told = dict(batch.told)
    assert told.pop("0 killer") == "failed"
    assert told == {"1": "done", "2": "done", "3": "done"}
    assert batch.errors["0 killer"]["code"] == "EngineDied"


def test_engine_killed_in_a_job_leaves_it_to_be_done_again(batch, tmp_path):
    make(batch.folder / "slow", "slow")
    make(batch.folder / "other")

    def kill_once(name):
        if name == "other":
            (batch.folder / "slow" / "job.json").write_text(
                (batch.folder / "slow" / "job.json").read_text().replace('"slow"', '"quick"')
            )
            for engine in batch.engines:
                if engine._folder.endswith("slow"):
                    os.kill(engine._process.pid, signal.SIGKILL)

    batch.on_tell = kill_once
    assert batch.run(2) == 0
    assert sorted(batch.told) == [("other", "done"), ("slow", "done")]


def test_no_engine_at_all_is_told_and_nothing_is_lost(batch, monkeypatch):
    make(batch.folder / "a")
    monkeypatch.setenv("STUB_ENGINE", "broken")
    with pytest.raises(EngineMissing, match="cannot run the engine"):
        batch.run()
    assert batch.told == []
    monkeypatch.delenv("STUB_ENGINE")
    assert batch.run() == 0
    make(batch.folder / "b")
    driver = Driver(batch.folder, [], batch.tell)
    with pytest.raises(EngineMissing, match="No node offers an engine after 0 s"):
        driver.run(batch.stop)


def test_busy_job_is_looked_at_again(batch, monkeypatch):
    monkeypatch.setattr(driving, "LATER_S", 0.05)
    folder = make(batch.folder / "a")
    engine = start_local(1, Path(sys.executable), batch.folder / ".logs", module=STUB)[0]
    give, asked = engine.give, []

    def refuse_twice(name):
        """The stub claims nothing: it is told what a real engine says."""
        asked.append(name)
        if len(asked) < 3:
            busy = JobBusy("Taken.").to_dict()
            engine._process._start.inbox.put(protocol.Failed(name, busy))
        else:
            give(name)

    monkeypatch.setattr(engine, "give", refuse_twice)
    code = Driver(batch.folder, [engine], batch.tell).run(batch.stop)
    engine.stop()
    assert (code, batch.told, asked) == (0, [("a", "done")], [str(folder)] * 3)


def test_urgent_jobs_come_first_and_a_second_engine_takes_what_is_left(batch):
    for number in range(6):
        make(batch.folder / str(number))
        CellNote("shot", "key", priority=number % 3).write(batch.folder / str(number))
    assert batch.run(1) == 0
    assert [int(name) % 3 for name, _ in batch.told] == [2, 2, 1, 1, 0, 0]


def with_card(folder, gigabytes):
    """An engine on a machine with such a card."""
    python = folder / f"python{gigabytes}"
    python.write_text(f'#!/bin/sh\nSTUB_CARD_GB={gigabytes} exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return start_local(1, python, folder / f".logs{gigabytes}", module=STUB)


def test_job_goes_to_the_card_that_has_the_memory_it_wants(batch, monkeypatch):
    """Whichever engine is there first, and whatever it does."""
    for name in ("large", "slow", "small"):
        make(batch.folder / name)
    engines = [*with_card(batch.folder, 24), *with_card(batch.folder, 80)]
    given = {engine: [] for engine in engines}
    for engine in engines:
        monkeypatch.setattr(engine, "give", record(engine, given[engine]))
    driver = Driver(batch.folder, engines, batch.tell, needs_gb={"large": 48, "small": 8})
    assert driver.run(batch.stop) == 0
    for engine in engines:
        engine.stop()
    assert "large" in given[engines[1]]
    assert sorted(given[engines[0]] + given[engines[1]]) == ["large", "slow", "small"]


def record(engine, names):
    give = engine.give

    def keep(folder):
        names.append(Path(folder).name)
        give(folder)

    return keep


def test_job_that_no_card_here_can_hold_is_tried_when_nothing_else_runs(batch):
    for name in ("a", "huge"):
        make(batch.folder / name)
    engines = with_card(batch.folder, 24)
    driver = Driver(batch.folder, engines, batch.tell, needs_gb={"huge": 80})
    assert driver.run(batch.stop) == 0
    engines[0].stop()
    assert batch.told == [("a", "done"), ("huge", "done")]


def test_job_short_of_memory_is_tried_once_more_on_a_larger_card(batch, monkeypatch):
    make(batch.folder / "fails", "fail")
    engines = [*with_card(batch.folder, 24), *with_card(batch.folder, 80)]
    given = []
    for engine in engines:
        monkeypatch.setattr(engine, "give", record(engine, given))
    monkeypatch.setattr(engines[1], "poll", late(engines[1], lambda: given))
    assert Driver(batch.folder, engines, batch.tell).run(batch.stop) == 1
    for engine in engines:
        engine.stop()
    assert given == ["fails", "fails"]
    assert batch.told == [("fails", "failed")]


def late(engine, when):
    """The engine says nothing until ``when()``: then it is there."""
    poll = engine.poll
    return lambda: poll() if when() else iter(())


def test_full_disk_takes_no_more_jobs(batch, monkeypatch):
    for number in range(3):
        make(batch.folder / str(number), "full" if number == 2 else "a kite")
        CellNote("shot", "key", priority=number).write(batch.folder / str(number))
    monkeypatch.setattr(driving, "has_room", lambda folder: False)
    with pytest.raises(DiskFull):
        batch.run(1)
    assert batch.told == [("2", "failed")]
    assert not find_result(batch.folder / "0")


def test_clocks_that_differ_do_no_harm(batch, tmp_path):
    """Of a job written by a machine whose clock is a year ahead, and one a year behind."""
    for number, years in enumerate((1, -1, 0)):
        folder = make(batch.folder / str(number))
        then = time.time() + years * 365 * 86400
        for path in (*folder.rglob("*"), folder):
            os.utime(path, (then, then))
        with open(folder / jobs.JOURNAL, "w", encoding="utf-8") as journal:
            for event, at in (("failed", then + 5), ("reading", then), ("denoising", then - 9)):
                journal.write(json.dumps({"event": event, "time": at, "code": "x"}) + "\n")
        assert read_status(folder).outcome == "waiting"
    assert batch.run(2) == 0
    assert sorted(batch.told) == [("0", "done"), ("1", "done"), ("2", "done")]
    batch.told.clear()
    assert batch.run(1) == 0
    assert {outcome for _, outcome in batch.told} == {"skipped"}


def test_stop_ends_with_130_and_leaves_the_rest(batch):
    for number in range(3):
        make(batch.folder / str(number), "slow")
    threading.Timer(1.0, batch.stop.set).start()
    assert batch.run(1) == 130
    assert not any(find_result(batch.folder / str(number)) for number in range(3))


def test_second_driver_is_busy_and_a_disk_without_locks_is_refused(batch, monkeypatch):
    make(batch.folder / "a")
    with hold_batch(batch.folder), pytest.raises(JobBusy, match="drives the batch"):
        hold_batch(batch.folder)
    monkeypatch.setattr("wan_blender.core.lock._lock", lambda file: None)
    with pytest.raises(BadRequest, match="no working locks"):
        hold_batch(batch.folder)


def farm(*words: object, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "wan_blender.farm", *map(str, words)], cwd=REPO, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def test_driver_that_is_killed_can_be_started_again(tmp_path, stub_python):
    b = tmp_path / "b"
    for number in range(6):
        make(b / str(number), "a kite" if number else "slow")
    child = farm("run", b, "--engines", 1, "--python", stub_python)
    while not find_result(b / "1") and child.poll() is None:  # "0" is the last of equals
        time.sleep(0.05)
    child.kill()
    child.communicate()
    slow = b / "0" / "job.json"
    slow.write_text(slow.read_text().replace('"slow"', '"quick"'))
    again = farm("run", b, "--engines", 2, "--python", stub_python)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == 6
    assert all(find_result(b / str(number)) for number in range(6))


def test_status_cancel_and_plan_answer_in_json(tmp_path, capsys):
    make(tmp_path / "b" / "a")
    make(tmp_path / "b" / "c")
    jobs.append_state(tmp_path / "b" / "c", "failed", code="EmptyMask", message="Empty.", hint="")
    assert main(["status", str(tmp_path / "b")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"waiting": 1, "failed": 1}
    assert told["not_done"][1]["message"] == "Empty."
    assert main(["cancel", str(tmp_path / "b")]) == 0
    assert json.loads(capsys.readouterr().out) == {"cancelled": 1}
    assert jobs.cancel_requested(tmp_path / "b" / "a")
    (tmp_path / "batch.toml").write_text('matrix.seeds = [1, 2]\n[[shots]]\nstrip = "A"')
    assert main(["plan", str(tmp_path / "batch.toml")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["jobs"], told["cells"][1]["sampling.seed"]) == (2, 2)
    assert main(["status", str(tmp_path)]) == 2
    assert "holds no jobs" in capsys.readouterr().err
