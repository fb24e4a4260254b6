# SPDX-License-Identifier: GPL-3.0-or-later
"""The short form of 10,000 random runs, and that it would see what it looks for."""

import numpy as np
import pytest

from campaigns import pixels, tally
from tests.engine.folders import make_job, moving_square, noise_plate
from wan_blender.core import job as jobs
from wan_blender.engine.frames.files import read_png, write_png


def test_few_random_runs_change_nothing_that_is_kept(unbroken):
    told = unbroken("pixels", pixels, 12)
    assert told.kinds["done"] >= 6


@pytest.fixture
def written(tmp_path):
    """A job with a result that is the plate, and a patch that is clear."""
    folder = make_job(tmp_path / "job", noise_plate(1, 32, 32), moving_square(1, 32, 32, 12))
    for kind, alpha in ((jobs.PATCH, True), (jobs.FRAMES, False)):
        (folder / "result" / kind).mkdir(parents=True)
        for path in (folder / jobs.PLATE).iterdir():
            plate = read_png(path)
            clear = np.zeros((*plate.shape[:2], 4), plate.dtype)
            write_png(folder / "result" / kind / path.name, clear if alpha else plate)
    return folder


def test_frame_that_is_one_step_off_is_seen(written):
    pixels.compare(written)
    path = written / "result" / jobs.FRAMES / "000000.png"
    frame = read_png(path)
    frame[3, 3, 0] ^= 1
    write_png(path, frame)
    with pytest.raises(tally.Broken, match="000000"):
        pixels.compare(written)


def test_patch_beyond_the_mask_is_seen(written):
    path = written / "result" / jobs.PATCH / "000000.png"
    mask, patch = read_png(written / jobs.MASK / path.name), read_png(path)
    patch[mask == 0] = np.iinfo(patch.dtype).max
    write_png(path, patch)
    with pytest.raises(tally.Broken):
        pixels.compare(written)
