# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bundled model does to pixels, through the engine as a user runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.engine.folders import make_job
from tools.train_nano.backgrounds import Background
from tools.train_nano.continuity import structure
from tools.train_nano.report import MEASURES, reconstruction, shipped_sampler, speed, split
from tools.train_nano.vision import colour_of, look, vivid
from tools.train_nano.world import Scene, Shape, render
from wan_blender.core import job as jobs
from wan_blender.engine.frames.files import read_png
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch

SIZE = (9, 96, 96)
WALL = Background(
    "plain",
    "grey",
    "wall",
    (0.55, 0.55, 0.55),
    (0.55, 0.55, 0.55),
    0.0,
    0.2,
    0.0,
    (0.0, 0.0),
    "",
    0,
)
BALL = Shape(
    "ball",
    "blue",
    "",
    False,
    0.18,
    (0.5, 0.5),
    (0.2, 0.0),
    0.0,
    0.0,
    0.0,
    "moves right",
    (0.1, 0.25, 0.95),
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path_factory.getbasetemp() / "tensors"))


def plate() -> np.ndarray:
    """A blue ball that crosses a grey wall, uint8."""
    return (render(Scene(WALL, (BALL,)), *SIZE) * 255).round().astype(np.uint8)


def middle_box(value: int = 65535) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint16)
    mask[:, 20:76, 16:80] = value
    return mask


def run(folder: Path, prompt: str, mask: np.ndarray, **settings) -> np.ndarray:
    """Full frames (T, H, W, 3) uint8 of one job."""
    chosen = {
        "prompt__text": prompt,
        "sampling__steps": 12,
        "sampling__guidance": 3.0,
        "sampling__shift": 3.0,
        "region__mode": "whole",
        "output__full_frames": True,
    } | settings
    make_job(folder, plate(), mask, **chosen)
    generate(folder, Watch(folder))
    frames = [read_png(folder / "result" / "frames" / jobs.frame_name(i)) for i in range(SIZE[0])]
    return np.stack(frames)[..., :3]


@pytest.mark.parametrize("colour", ["red", "green", "yellow", "purple"])
def test_prompted_colour_appears_inside_the_mask(tmp_path, colour):
    frames = run(tmp_path, f"a large {colour} ball stays still", middle_box()) / 255
    seen = frames[4][vivid(frames[4])]
    assert len(seen) > 150
    assert colour_of(seen) == colour


def test_kept_area_equals_the_plate_and_seeds_differ(tmp_path):
    mask = middle_box()
    one = run(tmp_path / "1", "a red ball", mask, sampling__seed=1)
    two = run(tmp_path / "2", "a red ball", mask, sampling__seed=2)
    assert (one[mask == 0] == plate()[mask == 0]).all()
    inside = mask > 0
    assert np.abs(one[inside].astype(int) - two[inside]).mean() > 2


def test_empty_background_prompt_removes_the_ball(tmp_path):
    frames = run(tmp_path, "empty background", middle_box()) / 255
    assert look(plate()[4] / 255) is not None
    assert look(frames[4]) is None


def test_darker_mask_changes_less(tmp_path):
    changes = []
    for value in (65535, 26000):
        frames = run(
            tmp_path / str(value),
            "a large yellow ball stays still",
            middle_box(value),
            model_mask__shape="same",
            output__matte="solid",
        )
        changes.append(np.abs(frames.astype(int) - plate())[middle_box() > 0].mean())
    assert changes[1] < 0.8 * changes[0]


def test_run_that_resumes_at_the_wrong_sigma_leaves_more_grain():
    assert split(shipped_sampler("vace"), (9, 64, 64), clips=4).met


@pytest.mark.parametrize(
    ("variant", "measure"),
    [row[:2] for row in MEASURES if row[0] != "experts" and row[1] not in (reconstruction, speed)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_figure_of_the_report_is_measured(variant, measure, tmp_path):
    found = measure(shipped_sampler(variant), (9, 64, 64), 4, tmp_path / "sheet.png")
    for figure in found if isinstance(found, list) else [found]:
        assert np.isfinite(float(figure.measured.split()[0]))


def test_walls_run_on_under_the_mask():
    figures = structure(shipped_sampler("vace"), (9, 96, 96), clips=8)
    assert float(figures[0].measured) > 0.6
