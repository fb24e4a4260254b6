# SPDX-License-Identifier: GPL-3.0-or-later
"""The strip of frames in a report, and the measure of flicker beside it."""

import cv2
import numpy as np
import pytest

from tests.engine.folders import make_job, noise_plate
from wan_blender.core import job as jobs
from wan_blender.engine.contact_sheet import look_at
from wan_blender.engine.frames.files import write_png


def done(folder, levels, covered=True):
    """A result whose patch is gray of ``levels``, one for each frame, over the left half."""
    mask = np.full((len(levels), 32, 64), 65535, np.uint16)
    job = make_job(folder, noise_plate(len(levels), 32, 64) // 8, mask)
    for index, level in enumerate(levels):
        patch = np.full((32, 64, 4), level, np.uint8)
        patch[..., 3] = 255 if covered else 0
        patch[:, 32:, 3] = 0
        path = job / "result" / jobs.PATCH / jobs.frame_name(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(path, patch)
    (job / "result" / "report.json").write_text("{}")
    return job


def test_sheet_shows_four_composited_frames(tmp_path):
    look = look_at(done(tmp_path, [0, 255] * 8))
    sheet = cv2.imdecode(np.frombuffer(look.sheet, np.uint8), cv2.IMREAD_COLOR)
    height, width = sheet.shape[:2]
    assert (width // 4 / height, width % 4) == (pytest.approx(2, abs=0.05), 0)
    left = [sheet[:, n * width // 4 : n * width // 4 + 60].mean() for n in range(4)]
    assert left == pytest.approx([0, 255, 0, 255], abs=4)  # frames 0, 5, 10 and 15
    right = sheet[:, width // 8 + 20 : width // 4 - 10]
    assert 5 < right.mean() < 30  # the plate


def test_flicker_is_what_is_not_even_motion(tmp_path):
    assert look_at(done(tmp_path / "a", [10 * n for n in range(16)])).flicker == pytest.approx(0)
    assert look_at(done(tmp_path / "b", [0, 255] * 8)).flicker == pytest.approx(1)
    assert look_at(done(tmp_path / "c", [7, 7])).flicker is None
    assert look_at(done(tmp_path / "d", [0, 255] * 8, covered=False)).flicker is None


def test_damaged_result_gives_no_look(tmp_path):
    job = done(tmp_path, [0, 255, 0, 255])
    (job / "result" / jobs.PATCH / jobs.frame_name(1)).write_bytes(b"PNG?")
    assert look_at(job) is None
    assert look_at(tmp_path / "nowhere") is None
