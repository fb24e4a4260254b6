# SPDX-License-Identifier: GPL-3.0-or-later
"""Settledness on clips whose truth is known, and in a run."""

import json

import numpy as np
import pytest

from benchmarks.settledness import campaign, curve_of
from tests.engine.folders import make_job, moving_square
from tools.insight_set.truth import DECOYS, Take, render
from wan_blender.core import job as jobs
from wan_blender.core.errors import LengthMismatch
from wan_blender.engine.frames.files import read_png
from wan_blender.engine.insight.jumps import find_jumps, spread
from wan_blender.engine.insight.returns import correlate
from wan_blender.engine.insight.settledness import RING, measure
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path_factory.getbasetemp() / "tensors"))


def test_short_campaign_meets_every_goal():
    """`python -m benchmarks.settledness` is the long form."""
    missed = [row for row in campaign([1], DECOYS[:1] + DECOYS[-2:]) if not row.met]
    assert not missed


def test_smooth_and_hidden_regions_cannot_be_said():
    rng = np.random.default_rng(0)
    frames = np.full((4, 64, 96, 3), 0.5, np.float32)
    frames[:, :, 48:] += 0.05 * rng.normal(size=(1, 64, 48, 1)).astype(np.float32)
    smooth, detailed = np.zeros((2, 64, 96), bool)
    smooth[8:56, 4:36] = True
    detailed[8:56, 60:90] = True
    regions = {"smooth": smooth, "detailed": detailed, "nothing": smooth & detailed}
    found, maps = measure((frame, regions) for frame in frames)
    curves = {curve.name: curve for curve in found.regions}
    assert curves["smooth"].mean is None
    assert curves["nothing"].mean is None
    assert curves["detailed"].mean > 0.95
    assert "cannot say" in found.sentences[0]
    assert np.isnan(maps[0][2, 1])
    assert maps[0][2, 4] > 0.95


def test_without_a_ring_a_settled_clip_is_settled_and_a_reseeded_one_is_not():
    means = []
    for share in (0.0, 0.4):
        truth = render(Take(3, reseeded=share, frames=6))
        frames = ({"all": m} for m in truth.masks)
        means.append(measure(zip(truth.frames, frames))[0].regions[0].mean)
    assert means[0] > 0.9
    assert means[1] < 0.8


def test_one_frame_is_refused():
    with pytest.raises(LengthMismatch, match="1"):
        measure([(np.zeros((64, 64, 3), np.float32), {})])


def test_sentences_number_frames_as_the_timeline_does():
    truth = render(Take(1, becomes=5))
    frames = ((f, {"mask": m}) for f, m in zip(truth.frames, truth.masks))
    assert "at frame 105" in " ".join(measure(frames, first_frame=100)[0].sentences)


def test_a_region_that_comes_back_is_compared_with_what_it_was():
    returns = [
        curve_of(Take(2, hidden=(4, 7), returns_different=other)).returns for other in (False, True)
    ]
    for (back,) in returns:
        assert (back.before, back.frame) == (3, 7)
    assert [back.differs for (back,) in returns] == [False, True]


def test_correlation_finds_a_thing_that_has_moved():
    truth = render(Take(4, frames=6))
    first, last = truth.frames[0, ..., 0], truth.frames[-1, ..., 0]
    other = render(Take(5, frames=6)).frames[-1, ..., 0]
    assert correlate(last, truth.masks[-1], first, truth.masks[0]) > 0.7
    assert correlate(other, truth.masks[-1], first, truth.masks[0]) < 0.5


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([0.0, 0.1, 0.0, 9.0, 0.1, 0.0], [3]),
        ([0.0, 0.1, 0.0, 0.1, 0.0, 5.0, 5.1, 5.0, 5.1], [5]),
        ([0.0, None, 0.1, -9.0, None, 0.0], [3]),
        ([0.0, 0.4, -0.4, 0.3, 0.0, -0.3], []),
        ([0.0, 9.0], []),
    ],
)
def test_jumps_are_found_once(values, found):
    assert find_jumps(values, 0.3, 0.5) == found


def test_spread_is_that_of_the_bulk():
    rng = np.random.default_rng(0)
    values = [*rng.normal(0, 2, 500), *[100.0] * 20, None]
    assert spread(values) == pytest.approx(2, rel=0.15)
    assert spread([1.0, None]) == 0


def test_a_run_reports_settledness_and_its_pixels_stay_the_same(tmp_path):
    plate = (render(Take(1, frames=9, size=(96, 128))).frames * 255).astype(np.uint8)
    mask = moving_square(9, 96, 128, 48)
    reports = []
    for name, wanted in (("off", False), ("on", True)):
        make_job(tmp_path / name, plate, mask, insight__settledness=wanted)
        reports.append(generate(tmp_path / name, Watch(tmp_path / name)))
    off, on = (tmp_path / name / "result" for name in ("off", "on"))
    assert reports[0].settledness is None
    assert not (off / "insight").exists()
    found = json.loads((on / "report.json").read_text())["settledness"]
    assert [curve["name"] for curve in found["regions"]] == ["mask", RING]
    assert all(len(curve["settled"]) == 9 for curve in found["regions"])
    ring = found["regions"][1]["mean"]
    assert ring is not None
    assert ring > 0.9
    assert found["sentences"]
    maps = sorted((on / jobs.SETTLEDNESS).glob("*.png"))
    assert [path.name for path in maps] == [jobs.frame_name(i) for i in range(1, 9)]
    assert read_png(maps[0]).shape[2] == 4
    for index in range(9):
        name = jobs.frame_name(index)
        assert (off / jobs.PATCH / name).read_bytes() == (on / jobs.PATCH / name).read_bytes()


def test_a_run_of_one_frame_and_one_without_a_ring_say_what_they_can(tmp_path):
    plate = (render(Take(1, frames=5, size=(32, 48))).frames * 255).astype(np.uint8)
    for name, count in (("one", 1), ("full", 5)):
        mask = np.full((count, 32, 48), 65535, np.uint16)
        settings = {"insight__settledness": True, "sampling__steps": 1}
        make_job(tmp_path / name, plate[:count], mask, **settings)
        report = generate(tmp_path / name, Watch(tmp_path / name))
        assert report.settledness.sentences
