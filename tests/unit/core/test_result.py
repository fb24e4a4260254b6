# SPDX-License-Identifier: GPL-3.0-or-later
"""What was called done survives a kill and a power cut, and damage is seen."""

import itertools
import json
import os
import shutil
from pathlib import Path

import pytest

from wan_blender.core import files, result
from wan_blender.core.answers.report import Report
from wan_blender.core.errors import DamagedResult

NAMES = ["patch/000000.png", "patch/000001.png", "takes.png"]


def make(folder: Path, text: str) -> Path:
    """A finished run of ``text`` that is not published."""
    part = folder / result.PART
    for name in NAMES:
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        (part / name).write_text(f"{text} {name}")
    result.write_report(part, Report(device=text, files=result.list_files(part)))
    return part


def take_in(folder: Path) -> str:
    """Which whole take the folder holds; "" for none."""
    found = result.find_result(folder)
    if found is None:
        return ""
    report = result.verify(found, hashes=True)
    return report.device


def test_report_lists_every_file_and_a_whole_result_verifies(tmp_path):
    make(tmp_path, "old")
    result.publish(tmp_path)
    report = result.verify(tmp_path / "result", hashes=True)
    assert sorted(report.files) == sorted(NAMES)
    assert not (tmp_path / result.PART).exists()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda r: (r / NAMES[0]).write_bytes(b""), "has 0 bytes instead of"),
        (lambda r: (r / NAMES[1]).unlink(), "is missing"),
        (lambda r: (r / NAMES[1]).write_text("OLD patch/000001.png"), "is not what was written"),
        (lambda r: (r / "report.json").write_bytes(b""), "cannot be read"),
        (lambda r: (r / "report.json").write_text("{}"), "lists no files"),
        (lambda r: (r / "report.json").write_text('{"files": {"../x": [1, ""]}}'), "lies outside"),
        (
            lambda r: (r / "report.json").write_text('{"files": {"takes.png": 1e9}}'),
            "expected a list of 2",
        ),
        (lambda r: _link(r / NAMES[2]), "cannot be read"),
    ],
    ids=["empty", "missing", "changed", "no report", "no list", "outside", "no numbers", "link"],
)
def test_damage_is_seen_and_named(tmp_path, damage, said):
    make(tmp_path, "old")
    result.publish(tmp_path)
    damage(tmp_path / "result")
    with pytest.raises(DamagedResult, match=said) as told:
        result.verify(tmp_path / "result", hashes=True)
    assert "Run the job again" in told.value.hint


def _link(path):
    path.unlink()
    path.symlink_to("/etc/hostname")


def test_files_of_others_stay_in_the_folder(tmp_path):
    make(tmp_path, "old")
    result.publish(tmp_path)
    (tmp_path / "result" / "patch" / "notes.txt").write_text("mine")
    (tmp_path / "result" / "graded.exr").write_text("mine too")
    make(tmp_path, "new")
    result.publish(tmp_path)
    assert take_in(tmp_path) == "new"
    assert (tmp_path / "result" / "patch" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "result" / "graded.exr").read_text() == "mine too"


class Disk:
    """A folder with a disk's memory: what was written but not synced is lost in a power cut.

    ``dies_at`` is the file operation (rename, sync, removal) before which the power goes. A file
    that was not synced since it was written comes back empty, as journalling file systems leave it.
    """

    def __init__(self, folder: Path, monkeypatch, dies_at: int) -> None:
        self.folder, self.synced, self.calls = folder, {}, itertools.count(1)
        self.dies_at = dies_at
        for module, name in (
            (os, "replace"), (os, "fsync"), (os, "unlink"), (os, "rmdir"), (shutil, "rmtree"),
        ):  # fmt: skip
            monkeypatch.setattr(module, name, self._counted(getattr(module, name), name))

    def keep(self) -> None:
        """All that is there now is on the disk."""
        self.synced = {f.stat().st_ino: f.read_bytes() for f in self._files()}

    def cut(self) -> None:
        for file in self._files():
            file.write_bytes(self.synced.get(file.stat().st_ino, b""))

    def _files(self):
        return [f for f in self.folder.rglob("*") if f.is_file()]

    def _counted(self, real, name):
        def call(*arguments, **options):
            if next(self.calls) == self.dies_at:
                raise KeyboardInterrupt
            if name == "fsync":
                number = os.fstat(arguments[0]).st_ino
                for file in self._files():
                    if file.stat().st_ino == number:
                        self.synced[number] = file.read_bytes()
            return real(*arguments, **options)

        return call


def test_power_cut_at_any_operation_loses_no_take(tmp_path):
    """The earlier take or the new one is whole at every moment, and the job can be run again."""
    survived = []
    for dies_at in itertools.count(1):
        folder = tmp_path / str(dies_at)
        make(folder, "old")
        result.publish(folder)
        with pytest.MonkeyPatch.context() as patched:
            disk = Disk(folder, patched, dies_at)
            disk.keep()
            try:
                make(folder, "new")
                result.publish(folder)
            except KeyboardInterrupt:
                died = True
            else:
                died = False
        disk.cut()
        survived.append(take_in(folder))
        result.recover_earlier(folder)
        assert take_in(folder) == survived[-1]
        shutil.rmtree(folder / result.PART, ignore_errors=True)
        make(folder, "again")
        result.publish(folder)
        assert take_in(folder) == "again"
        assert not (folder / result.EARLIER).exists()
        if not died:
            break
    assert set(survived) == {"old", "new"}
    assert survived == sorted(survived, reverse=True)  # once the new one stands it stays
    assert len(survived) > 10


def test_report_with_a_number_that_is_no_number_is_not_written(tmp_path):
    files.write_json(tmp_path / "report.json", {"seam": 1.5})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "report.json", {"seam": float("nan")})
    assert json.loads((tmp_path / "report.json").read_text()) == {"seam": 1.5}
