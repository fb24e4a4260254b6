# SPDX-License-Identifier: GPL-3.0-or-later
"""Borrowing in a job: without a model, before one, and not at all."""

from pathlib import Path

import numpy as np
import pytest

from tests.engine.borrow.clips import RECIPES, make_clip, short
from tests.engine.folders import make_job
from wan_blender.core.result import find_result
from wan_blender.engine import pipeline
from wan_blender.engine.check import check
from wan_blender.engine.frames.files import read_png
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path_factory.getbasetemp() / "tensors"))


@pytest.fixture(scope="module")
def clip():
    return make_clip(short(RECIPES[0], 6))


def make(folder: Path, clip, mask=None, **settings) -> Path:
    mask = clip.mask if mask is None else mask
    sixteen = (mask * 65535).astype(np.uint16)
    return make_job(folder, clip.plate, sixteen, output__full_frames=True, **settings)


def frames(folder: Path, kind: str = "frames") -> np.ndarray:
    return np.stack([read_png(path) for path in sorted((folder / "result" / kind).glob("*.png"))])


def test_only_needs_no_model_and_shows_the_clean_plate(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(pipeline, "make_plan", None)
    make(tmp_path, clip, fill__borrow="only", output__feather_px=0.0, model__path="missing")
    report = generate(tmp_path, Watch(tmp_path))
    assert report.borrow.share > 0.9
    assert report.max_diff_outside == 0
    shown = frames(tmp_path)
    assert (shown[clip.mask == 0] == clip.plate[clip.mask == 0]).all()
    used = frames(tmp_path, "patch")[..., 3] > 0
    error = (shown / 255.0 - clip.clean)[used]
    assert -10 * np.log10((error**2).mean()) > 38
    assert not (tmp_path / "borrowed.part").exists()


def test_check_tells_of_a_job_that_only_borrows_without_a_model(tmp_path, clip):
    make(tmp_path, clip, fill__borrow="only", model__path="missing")
    assert check(tmp_path).mask.pixels == pytest.approx((clip.mask > 0).mean(), abs=1e-5)


def test_only_leaves_the_plate_where_no_frame_shows_more(tmp_path, clip):
    mask = clip.mask.copy()
    mask[:, :, 200:] = 1  # nothing comes out from under it where the camera pans away from it
    make(tmp_path, clip, mask, fill__borrow="only", output__feather_px=0.0)
    report = generate(tmp_path, Watch(tmp_path))
    patch = frames(tmp_path, "patch")
    assert (patch[..., 3][mask > 0] == 0).any()
    assert (frames(tmp_path)[patch[..., 3] == 0] == clip.plate[patch[..., 3] == 0]).all()
    assert any("not shown" in note for note in report.borrow.notes)


def test_first_generates_only_what_is_left(tmp_path, clip):
    mask = clip.mask.copy()
    mask[:, :, 200:] = 1
    make(tmp_path / "only", clip, mask, fill__borrow="only", output__feather_px=0.0)
    make(
        tmp_path / "first",
        clip,
        mask,
        fill__borrow="first",
        output__feather_px=0.0,
        sampling__steps=1,
    )
    generate(tmp_path / "only", Watch(tmp_path / "only"))
    report = generate(tmp_path / "first", Watch(tmp_path / "first"))
    borrowed = frames(tmp_path / "only", "patch")
    both = frames(tmp_path / "first", "patch")
    sure = borrowed[..., 3] > 0
    assert 0.1 < report.borrow.share < 1
    assert report.max_diff_outside == report.max_latent_diff_kept == 0
    assert (both[sure] == borrowed[sure]).all()
    assert (both[..., 3][mask > 0] == 255).all()
    made = (mask > 0) & ~sure
    assert (both[..., :3][made] != clip.plate[made]).mean() > 0.5


def test_a_cancelled_run_leaves_nothing(tmp_path, clip):
    make(tmp_path, clip, fill__borrow="only")
    (tmp_path / "cancel").touch()
    with pytest.raises(Exception, match="Cancel"):
        generate(tmp_path, Watch(tmp_path))
    assert not (tmp_path / "borrowed.part").exists()
    assert find_result(tmp_path) is None
