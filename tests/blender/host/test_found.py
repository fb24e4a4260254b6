# SPDX-License-Identifier: GPL-3.0-or-later
"""Job folders that came with a project: looked at off the main thread, named, and never trusted."""

import json
import os

import pytest


@pytest.fixture
def found(part, tmp_path, monkeypatch):
    """``found(root)``: the jobs that are read there."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return part("host.found").read_open_ends


def job(part, folder, **placement):
    """An exported job whose run never ended."""
    settings, jobs = part("core.settings"), part("core.job")
    jobs.create(folder, settings.Job(settings.Shot("plate", "Scene", 64, 48, 24, 1, 1, 5, 1, 8)))
    names = {
        "scene": "Scene", "scene_uid": 1, "session": "x", "blend": "", "strip": "plate",
        "strip_start": 1, "strip_count": 5, "frame_start": 1, "frame_count": 5, "trim_start": 0,
        "trim_end": 0, "hold": 0, "channel": 1, "fps_num": 24, "fps_den": 1,
    }  # fmt: skip
    origin = {"placement": names | placement, "choices": {}}
    (folder / "origin.json").write_text(json.dumps(origin))
    return folder


@pytest.mark.parametrize("name", ["job.json", "origin.json", "state.jsonl"])
def test_hostile_files_do_not_hold_the_reading_up(found, part, tmp_path, name):
    good = job(part, tmp_path / "jobs" / "b good")
    for number, spoil in enumerate((os.mkfifo, _sparse, _deep, _lines)):
        bad = job(part, tmp_path / "jobs" / f"a bad {number}")
        (bad / name).unlink()
        spoil(bad / name)
    folders = [local.folder for local in found(tmp_path / "jobs")]
    assert good in folders


def _sparse(path):
    with open(path, "wb") as file:
        file.truncate(3 << 30)


def _deep(path):
    path.write_text("[" * 1_000_000)


def _lines(path):
    path.write_text("\n" * 1_000_000)


@pytest.mark.parametrize(
    "placement",
    [{"frame_count": 10**9}, {"frame_count": 0}, {"strip": 5}, {"channel": "1"}, {"extra": 1},
     {"frame_start": 1e300}, {"fps_num": 0}, {"strip": "x" * 10_000}],
)  # fmt: skip
def test_placement_that_no_timeline_has_is_refused(found, part, tmp_path, placement):
    job(part, tmp_path / "jobs" / "a", **placement)
    assert found(tmp_path / "jobs") == []


def test_folder_of_another_machine_is_known_as_such_until_it_was_run(found, part, tmp_path):
    folder = job(part, tmp_path / "jobs" / "theirs")
    (local,) = found(tmp_path / "jobs")
    assert local.foreign
    assert f"{folder} was not made on this machine" in local.reach
    assert "the bundled model" in local.reach
    local.write_origin()
    (local,) = found(tmp_path / "jobs")
    assert not local.foreign
    folder.rename(tmp_path / "jobs" / "renamed")  # a mark is of one folder
    (local,) = found(tmp_path / "jobs")
    assert local.foreign


def test_looking_for_results_reads_nothing_on_this_thread(addon, part, tmp_path, monkeypatch):
    import threading

    readers = []
    session, found = part("host.state").host().session, part("host.found")
    monkeypatch.setattr(
        found, "read_open_ends", lambda root: readers.append(threading.current_thread()) or []
    )
    session.find_results([tmp_path]).wait()
    assert readers
    assert threading.main_thread() not in readers
