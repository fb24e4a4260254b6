# SPDX-License-Identifier: GPL-3.0-or-later
"""The short form of 500 kills, and that a loss would be seen."""

import os
import random

import pytest

from campaigns import kills, tally, victim
from wan_blender.core import result, transfer
from wan_blender.core.errors import DamagedResult


def test_few_kills_lose_nothing(unbroken):
    told = unbroken("kills", kills, 10)
    assert len(told.kinds) >= 3


def run_many(kind):
    for number in range(60):
        kind(number, random.Random(number))


def test_result_that_is_not_synced_is_seen(tmp_path, monkeypatch):
    measure = result._measure
    monkeypatch.setattr(result, "_measure", lambda path, sync=False: measure(path))
    engines = kills.Engines(tmp_path / "place")
    with pytest.raises(DamagedResult):
        run_many(engines)


def test_download_that_is_not_synced_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "sync_file", lambda path: None)
    downloads = kills.Downloads(tmp_path / "place")
    with pytest.raises(tally.Broken, match="has 0 bytes of"):
        run_many(downloads)
    downloads.close()


def test_lock_of_a_killed_download_goes_with_the_next(tmp_path):
    downloads = kills.Downloads(tmp_path / "place")
    folder = tmp_path / "place" / "models"
    victim.run(lambda: downloads._fetch(folder), folder)
    (folder / "b.json.part.lock").touch()  # as after a kill between the two names
    assert victim.run(lambda: downloads._fetch(folder), folder).code == 0
    assert sorted(kills.files_below(folder)) == [
        ".cache/huggingface/download/a.safetensors.metadata",
        ".cache/huggingface/download/b.json.metadata", "a.safetensors", "b.json",
    ]  # fmt: skip
    downloads.close()


def test_power_cut_keeps_what_was_synced(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "old").write_text("old")
    disk = victim.Disk(folder, tmp_path / "shadow")
    for name in ("synced", "not"):
        (folder / name).write_text(name)
    with open(folder / "synced") as file:
        disk.sync(file.fileno())
    disk.cut(names=False)
    assert {p.name: p.read_text() for p in folder.iterdir()} == {
        "old": "old", "synced": "synced", "not": "",
    }  # fmt: skip
    disk.cut(names=True)
    assert [p.name for p in folder.iterdir()] == ["old"]


def test_victim_dies_before_its_nth_operation(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()

    def work():
        for number in range(5):
            os.mkdir(folder / str(number))

    end = victim.run(work, folder, kill_at=3)
    assert (end.code, len(list(folder.iterdir()))) == (-9, 2)
    for path in folder.iterdir():
        path.rmdir()
    assert victim.run(work, folder).operations == 5
