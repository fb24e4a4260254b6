# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes of one seed with and without: made in one command, measured, drawn."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.engine.folders import make_job, noise_plate
from wan_blender.core import job as jobs
from wan_blender.core.errors import InvalidJob, LengthMismatch
from wan_blender.core.result import REPORT, RESULT, find_result
from wan_blender.engine import __main__ as engine
from wan_blender.engine.frames.files import read_png, write_png
from wan_blender.engine.hygiene.measure import takes
from wan_blender.engine.hygiene.pictures import write_radius

FRAMES, H, W = 5, 64, 96


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path_factory.getbasetemp() / "tensors"))


@pytest.fixture
def folder(tmp_path):
    mask = np.full((FRAMES, H, W), 65535, np.uint16)
    mask[0] = 0
    make_job(
        tmp_path / "job", noise_plate(FRAMES, H, W), mask, hygiene__mode="both", sampling__steps=2
    )
    write_radius(tmp_path / "job" / jobs.RADIUS, np.full((H, W), 2.0, np.float32))
    return tmp_path / "job"


def finish(folder, frames: np.ndarray, seen: list[int] | None = None) -> None:
    """``frames`` (T, H, W, 3) as a result that covers everything."""
    patch = folder / RESULT / jobs.PATCH
    patch.mkdir(parents=True)
    for index, frame in enumerate(frames):
        alpha = np.full((*frame.shape[:2], 1), 255, np.uint8)
        write_png(patch / jobs.frame_name(index), np.dstack([frame, alpha]))
    size = {"box": [0, 0, W, H], "model_pixels": seen or [W, H]}
    (folder / RESULT / REPORT).write_text(json.dumps({"size": size}))


def slide(step: int) -> np.ndarray:
    """A soft picture that moves ``step`` pixels a frame to the left."""
    wide = cv2.GaussianBlur(noise_plate(1, H, 2 * W)[0], (0, 0), 3)
    wide = cv2.normalize(wide, None, 0, 255, cv2.NORM_MINMAX)
    return np.stack([wide[:, step * i : step * i + W] for i in range(FRAMES)])


def test_one_command_makes_both_takes_and_compares_them(folder):
    command = [sys.executable, "-m", "wan_blender.engine", "run", folder, "--with-and-without"]
    subprocess.run(command, check=True, capture_output=True)
    without = folder.with_name("job-without")
    assert jobs.read(without).hygiene.mode == "off"
    report = json.loads((folder / RESULT / REPORT).read_text())
    found = report["takes"]
    assert found["without_folder"] == "job-without"
    assert (found["mode"], found["frames"], found["same_frames"]) == ("both", FRAMES, 1)
    assert set(found["change"]) == set(takes.MEASURES)
    assert found["change"]["motion"] == pytest.approx(
        found["treated"]["motion"] - found["without"]["motion"], abs=1e-4
    )
    assert read_png(folder / RESULT / jobs.TAKES).std() > 10
    assert "takes" not in json.loads((without / RESULT / REPORT).read_text())


def test_take_without_is_run_again_only_when_its_job_changed(folder):
    without = takes.make_without(folder)
    finish(without, slide(1))
    assert takes.make_without(folder) == without
    assert find_result(without)
    job = jobs.read(folder)
    job.sampling.seed += 1
    jobs.create(folder, job)
    takes.make_without(folder)
    assert find_result(without) is None


def test_hygiene_that_is_off_has_nothing_to_compare(folder):
    job = jobs.read(folder)
    job.hygiene.mode = "off"
    jobs.create(folder, job)
    with pytest.raises(InvalidJob, match="off"):
        takes.make_without(folder)


@pytest.mark.parametrize("seen", [None, [W // 2, H // 2]])
def test_motion_of_both_takes_is_measured_at_the_size_the_model_saw(folder, seen):
    without = takes.make_without(folder)
    finish(without, slide(1), seen)
    finish(folder, slide(4), seen)
    found = takes.compare(takes.Take.read(without), takes.Take.read(folder), folder / "sheet.png")
    scale = 0.5 if seen else 1.0
    assert found.without.motion == pytest.approx(1 * scale, abs=0.3)
    assert found.treated.motion == pytest.approx(4 * scale, rel=0.15)


def test_takes_that_are_equal_say_so(folder):
    without = takes.make_without(folder)
    for take in (without, folder):
        finish(take, slide(2))
    found = takes.compare(takes.Take.read(without), takes.Take.read(folder), folder / "sheet.png")
    assert found.same_frames == FRAMES
    assert all(getattr(found.change, name) == 0 for name in ("motion", "crawl", "first_ssim"))


def test_a_missing_take_is_said_and_fails_nothing(folder):
    (folder / jobs.COMPARE_WITH).write_text("gone")
    finish(folder, slide(1))
    found = takes.compare_with(folder, folder / RESULT, lambda: None)
    assert "gone" in found.error


def test_job_without_a_partner_has_no_takes(folder):
    assert takes.compare_with(folder, folder / RESULT, lambda: None) is None


@pytest.mark.parametrize(("what", "error"), [("seed", InvalidJob), ("width", LengthMismatch)])
def test_takes_of_different_runs_are_refused_with_the_numbers(folder, what, error):
    without = takes.make_without(folder)
    job = jobs.read(without)
    setattr(job.sampling if what == "seed" else job.shot, what, 77)
    jobs.create(without, job)
    for take in (without, folder):
        finish(take, slide(1))
    with pytest.raises(error, match="77"):
        takes.compare(takes.Take.read(without), takes.Take.read(folder), folder / "sheet.png")


def test_command_compares_finished_folders(folder, capsys, tmp_path):
    without = takes.make_without(folder)
    finish(without, slide(1))
    finish(folder, slide(2))
    sheet = tmp_path / "sheet.png"
    assert engine.main(["hygiene", "takes", str(without), str(folder), str(sheet)]) == 0
    assert json.loads(capsys.readouterr().out)["treated"]["motion"] > 1
    assert sheet.exists()
