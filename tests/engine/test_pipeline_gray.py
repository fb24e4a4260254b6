# SPDX-License-Identifier: GPL-3.0-or-later
"""A soft mask means one thing: how much is made new, or how opaque the patch is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.engine.folders import make_job, noise_plate
from wan_blender.core import job as jobs
from wan_blender.engine.frames.files import read_png
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch

FRAMES, HEIGHT, WIDTH = 5, 64, 256
VALUES = (0.25, 0.5, 0.75, 1.0)
FEATHER = 2


def ramp(values=VALUES) -> np.ndarray:
    """(T, H, W): a field of 64 pixels for each value, on all frames."""
    mask = np.repeat(np.array(values) * 65535, WIDTH // len(values)).astype(np.uint16)
    return np.broadcast_to(mask, (FRAMES, HEIGHT, WIDTH)).copy()


def blocks(width: int) -> np.ndarray:
    """A still clip of large coloured squares."""
    plate = noise_plate(1, HEIGHT, width)[:, ::16, ::16]
    return plate.repeat(16, 1).repeat(16, 2).repeat(FRAMES, 0)


def read(folder: Path) -> np.ndarray:
    return np.stack([read_png(folder / jobs.frame_name(i)) for i in range(FRAMES)]).astype(int)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Name -> (full frames, patches) of one clip and seed."""
    root = tmp_path_factory.mktemp("gray")
    plate = blocks(WIDTH)
    found = {"plate": (plate, plate)}

    def run(name: str, mask: np.ndarray, **settings) -> None:
        folder = make_job(
            root / name, plate, mask, sampling__steps=8, output__full_frames=True,
            output__feather_px=FEATHER, **settings,
        )  # fmt: skip
        assert generate(folder, Watch(folder)).max_diff_outside == 0
        found[name] = tuple(read(folder / "result" / kind) for kind in ("frames", "patch"))

    run("hard", ramp((1.0,)))
    for gray in ("amount", "opacity", "both"):
        run(gray, ramp(), mask__gray=gray)
    return found


def test_the_patch_covers_a_ramp_whole_by_default(results):
    """No second mixing: what the sampler made is what shows, over every value."""
    full, patch = results["amount"]
    assert (patch[..., 3] == 255).all()
    assert np.array_equal(full, patch[..., :3])
    assert np.array_equal(patch[..., :3], results["both"][1][..., :3])


def test_both_is_the_amount_seen_through(results):
    """The old meaning, in which a gray value counted twice."""
    plate, share = results["plate"][0], ramp()[..., None] / 65535
    expected = plate + share * (results["amount"][0] - plate)
    assert np.abs(results["both"][0] - expected).max() <= 1


def test_more_gray_changes_more(tmp_path):
    """Mean change of the pixels against that of a hard mask: the decoder alone makes a tenth."""
    plate = blocks(64)
    changed = []
    for value in (0.25, 0.5, 0.75, 1.0):
        mask = np.full((FRAMES, HEIGHT, 64), round(value * 65535), np.uint16)
        folder = make_job(
            tmp_path / str(value), plate, mask, sampling__steps=10, output__full_frames=True
        )
        generate(folder, Watch(folder))
        changed.append(np.abs(read(folder / "result" / "frames") - plate).mean())
    low, half, high = (change / changed[-1] for change in changed[:3])
    assert 0.05 < low < half - 0.1
    assert 0.3 < half < 0.7
    assert half < high


def test_opacity_is_of_the_patch_alone(results):
    """All of the mask is made new, as by a hard one; the clip shows through by the drawn value."""
    patch = results["opacity"][1]
    assert np.array_equal(patch[..., :3], results["hard"][1][..., :3])
    drawn = np.rint(ramp() / 65535 * 255)
    assert np.abs(patch[..., 3] - drawn).max() <= 1


def test_a_soft_edge_is_covered_up_to_the_feather(tmp_path):
    plate, mask = noise_plate(FRAMES, HEIGHT, 64), np.zeros((FRAMES, HEIGHT, 64), np.uint16)
    mask[:, :, 16:48] = np.linspace(0.1, 1, 32) * 65535
    folder = make_job(tmp_path / "job", plate, mask, output__feather_px=FEATHER)
    generate(folder, Watch(folder))
    alpha = read_png(folder / "result" / "patch" / jobs.frame_name(0))[..., 3]
    assert (alpha[:, 18:46] == 255).all()
    assert (alpha[:, :16] == 0).all()
    assert (alpha[:, 16] > 0).all()
    assert (alpha[:, 16] < 255).all()


def test_a_hard_mask_is_the_same_whatever_gray_means(tmp_path):
    plate, mask = noise_plate(FRAMES, 64, 64), np.zeros((FRAMES, 64, 64), np.uint16)
    mask[:, 16:40, 16:48] = 65535
    made = []
    for gray in ("amount", "opacity", "both"):
        folder = make_job(tmp_path / gray, plate, mask, mask__gray=gray)
        generate(folder, Watch(folder))
        made.append((folder / "result" / "patch" / jobs.frame_name(2)).read_bytes())
    assert made[0] == made[1] == made[2]
