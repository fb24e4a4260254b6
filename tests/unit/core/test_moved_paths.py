# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths of a job on a machine that calls its disks by other names."""

import pytest

from wan_blender.core import job as jobs
from wan_blender.core import settings
from wan_blender.core.errors import InvalidJob
from wan_blender.core.moved_paths import move, read_moves


@pytest.mark.parametrize(
    ("path", "moved"),
    [
        ("/srv/models/wan", "/mnt/m/wan"),
        ("/srv/models", "/mnt/m"),
        ("/srv/models2/wan", "/x/models2/wan"),
        ("/srv", "/x"),
        ("nano/vace", "nano/vace"),
        ("", ""),
        (r"D:\films\a.png", "/films/a.png"),
    ],
)
def test_longest_beginning_of_whole_folders_is_replaced(path, moved):
    assert move(path, read_moves(r"/srv=/x/;/srv/models=/mnt/m; D:\films=/films")) == moved


def test_windows_paths_are_made_of_backslashes():
    assert move("/srv/wan/vae", read_moves(r"/srv=M:\wan")) == r"M:\wan\wan\vae"


def test_job_is_read_with_all_its_paths_moved(tmp_path, monkeypatch):
    made = settings.Job(settings.Shot(width=8, height=8, frame_count=1))
    made.model.path = "/srv/wan"
    made.prompt.text = "/srv/wan"
    made.loras = [settings.LoraUse("/srv/l.safetensors", 0.5)]
    made.stages = [settings.Stage(model="/srv/two", loras=[settings.LoraUse("/else/l")])]
    jobs.create(tmp_path, made)
    assert jobs.read(tmp_path) == made
    monkeypatch.setenv("WAN_BLENDER_PATHS", "/srv=/mnt")
    read = jobs.read(tmp_path)
    assert (read.model.path, read.prompt.text) == ("/mnt/wan", "/srv/wan")
    assert read.loras[0] == settings.LoraUse("/mnt/l.safetensors", 0.5)
    assert (read.stages[0].model, read.stages[0].loras[0].file) == ("/mnt/two", "/else/l")
    monkeypatch.setenv("WAN_BLENDER_PATHS", "/srv")
    with pytest.raises(InvalidJob, match="FROM=TO"):
        jobs.read(tmp_path)
