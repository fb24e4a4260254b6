# SPDX-License-Identifier: GPL-3.0-or-later
"""Foreign folders: nothing is written through a link, nothing is read without end."""

import os
import socket

import pytest

from wan_blender.core import files
from wan_blender.core import job as jobs
from wan_blender.core.errors import InvalidJob, UserError
from wan_blender.core.lock import Claim, is_claimed
from wan_blender.core.programs import find_program
from wan_blender.core.settings import Job, Shot


@pytest.fixture
def theirs(tmp_path):
    """A file of the user's, outside the job folder."""
    file = tmp_path / ".bashrc"
    file.write_text("precious\n")
    return file


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


def _job():
    return Job(Shot("clip", "Scene", 64, 48, 24, 1, 1, 5, 2, 8))


def test_lock_through_a_link_leaves_its_target(folder, theirs):
    (folder / "lock").symlink_to(theirs)
    with pytest.raises(UserError, match=r"is a link|Too many"):
        Claim(folder)
    assert not is_claimed(folder)
    assert theirs.read_text() == "precious\n"


def test_lock_that_is_another_name_leaves_its_target(folder, theirs):
    os.link(theirs, folder / "lock")
    with pytest.raises(UserError, match="second name of another file"):
        Claim(folder)
    assert theirs.read_text() == "precious\n"


def test_foreseeable_part_name_is_not_written(folder, theirs):
    (folder / "job.json.part").symlink_to(theirs)
    jobs.create(folder, _job())
    assert theirs.read_text() == "precious\n"
    assert jobs.read(folder) == _job()


def test_link_in_place_of_a_file_is_replaced(folder, theirs):
    (folder / "job.json").symlink_to(theirs)
    files.write_json(folder / "job.json", {"a": 1})
    assert theirs.read_text() == "precious\n"
    assert files.read_json(folder / "job.json") == {"a": 1}


def test_journal_and_cancel_do_not_follow_links(folder, theirs):
    for name in ("state.jsonl", "cancel"):
        (folder / name).symlink_to(theirs)
    with pytest.raises(OSError, match="state"):
        jobs.append_state(folder, "evil")
    with pytest.raises(OSError, match="cancel"):
        jobs.request_cancel(folder)
    assert theirs.read_text() == "precious\n"
    assert jobs.read_events(folder) == []


@pytest.mark.parametrize("inside", ["result.part", "plate", "deep/er/mask"])
def test_claim_refuses_a_folder_with_links(folder, tmp_path, inside):
    (tmp_path / "elsewhere").mkdir()
    place = folder / inside
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidJob, match=f"{place.name} is neither a file nor a folder"):
        Claim(folder)
    assert not is_claimed(folder)


@pytest.mark.parametrize("name", ["job.json", "state.jsonl", "origin.json"])
def test_pipe_and_endless_device_are_refused_at_once(folder, name):
    os.mkfifo(folder / name)
    with pytest.raises(OSError, match="is not a regular file"):
        files.read_bytes(folder / name, 100)
    (folder / name).unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / name))
        with pytest.raises(OSError, match=r"No such device|is not a regular file"):
            files.read_bytes(folder / name, 100)
    with pytest.raises(OSError, match="is not a regular file"):
        files.read_bytes("/dev/zero", 100, links=True)


def test_reading_is_bounded_in_size_and_depth(folder):
    sparse = folder / "job.json"
    with open(sparse, "wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(OSError, match="is larger than 4,194,304 bytes"):
        files.read_json(sparse)
    sparse.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        files.read_json(sparse)


def test_byte_order_mark_is_passed_over(folder):
    (folder / "job.json").write_bytes(b"\xef\xbb\xbf{}")
    assert files.read_json(folder / "job.json") == {}


def test_writing_that_fails_leaves_the_old_file_and_nothing_else(folder):
    files.write_json(folder / "x.json", {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(folder / "x.json", {"a": object()})
    assert files.read_json(folder / "x.json") == {"a": 1}
    assert [path.name for path in folder.iterdir()] == ["x.json"]


def test_program_is_not_taken_from_the_current_folder(tmp_path, monkeypatch):
    planted = tmp_path / "uv"
    planted.write_text("#!/bin/sh\n")
    planted.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in (".", "", f"{os.pathsep}.", "./"):
        monkeypatch.setenv("PATH", path)
        assert find_program("uv") is None
    assert find_program("uv", str(tmp_path)) == str(planted)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_in_every_encoding_that_editors_write(tmp_path, encoding):
    path = tmp_path / "x.json"
    path.write_bytes('{"prompt": "r\u00f6d \u7ea2"}'.encode(encoding))
    assert files.read_json(path) == {"prompt": "r\u00f6d \u7ea2"}
