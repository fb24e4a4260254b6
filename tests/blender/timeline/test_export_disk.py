# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that fills up: told with numbers, and no half-written frame is taken for a whole one."""

import time

import pytest

from tests.blender import media
from wan_blender.core.errors import DiskFull
from wan_blender.timeline.background import BackgroundExport
from wan_blender.timeline.export import export
from wan_blender.timeline.shot import read_shot

WIDTH, HEIGHT, FRAMES = 256, 192, 14  # a plate frame takes 150 kB, a matte's 200 kB for 8 at once


@pytest.fixture
def shot(timeline):
    timeline.scene.render.resolution_x, timeline.scene.render.resolution_y = WIDTH, HEIGHT
    files = media.write_sequence(timeline.folder / "clip", FRAMES, WIDTH, HEIGHT)
    plate = timeline.add_image(files)
    timeline.add_mask(length=FRAMES)
    return read_shot(timeline.scene, plate)


@pytest.mark.parametrize(
    ("kib", "words"),
    [(40, "frame 1 could"), (300, "disk is full"), (1700, "frame 12 could")],
)
def test_full_disk_ends_the_export_and_frees_the_disk(shot, small_disk, kib, words):
    disk = small_disk(kib)
    with pytest.raises(DiskFull, match=rf"{words}.*Free some space"):
        export(shot, disk)
    assert list(disk.iterdir()) == []


def test_copy_that_does_not_fit_on_the_disk_is_told(shot, small_disk):
    disk = small_disk(300)
    with pytest.raises(DiskFull, match=r"shot.blend.*0\.\d MB are free"):
        BackgroundExport().start(shot, disk)
    assert list(disk.iterdir()) == []


def test_disk_that_fills_in_the_background_is_told(shot, small_disk):
    disk = small_disk(1700)
    running = BackgroundExport()
    running.start(shot, disk)
    while not running.poll()[0]:
        time.sleep(0.02)
    with pytest.raises(DiskFull):
        running.result()
    assert list(disk.iterdir()) == []


def test_read_only_folder_is_refused_with_its_path(shot, small_disk, make_read_only):
    disk = small_disk(300)
    make_read_only(disk)
    for start in (export, BackgroundExport().start):
        with pytest.raises(DiskFull, match=rf"cannot be written \({disk}.*Choose a job folder"):
            start(shot, disk / "job")
