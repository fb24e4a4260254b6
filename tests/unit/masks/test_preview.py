# SPDX-License-Identifier: GPL-3.0-or-later
"""What the editor is shown before a run is what the engine plans."""

import cv2
import numpy as np
import pytest

from tests.engine.folders import make_job, noise_plate
from wan_blender.core import job as jobs
from wan_blender.core.mask_settings import Mask, RegionSettings
from wan_blender.engine.frames.files import ShotFrames
from wan_blender.engine.frames.masks import measure_mask, plan_masks
from wan_blender.engine.frames.region import plan_region
from wan_blender.masks.crop import Crop, grown
from wan_blender.masks.grid import Grid
from wan_blender.masks.notes import mask_notes
from wan_blender.masks.preview import MaskPreview, make_preview
from wan_blender.model_info.traits import ModelSizes, Traits

TRAITS = Traits("t2v", 16, 16, 8, 2, False, False, False, 512, None, 832 * 480, 81)
SIZES = ModelSizes(8, 2, 832 * 480)


def moving_mask(count: int, height: int, width: int) -> np.ndarray:
    """A soft disc that moves to the right; frame 6 has none."""
    y, x = np.mgrid[:height, :width]
    frames = [
        np.clip(20 - np.hypot(y - height / 3, x - 40 - 5 * i), 0, 8) / 8 for i in range(count)
    ]
    frames[6] *= 0
    return np.stack(frames).astype(np.float32)


@pytest.mark.parametrize("pixels", [0, 48 * 48, 200 * 200], ids=["as it is", "smaller", "larger"])
@pytest.mark.parametrize("mask", [Mask(), Mask(grow_px=3, grow_after=2, reduction="mean")])
def test_preview_shows_the_cells_and_the_crop_of_the_run(tmp_path, pixels, mask):
    masks = moving_mask(9, 96, 160)
    seen = RegionSettings(pixels=pixels)
    folder = make_job(tmp_path / "job", noise_plate(9, 96, 160), (masks * 65535).astype("u2"))
    shot = ShotFrames(folder, jobs.read(folder))
    extent = measure_mask(shot)
    box = grown(extent.box, mask.grow_px, (160, 96))
    region = plan_region(9, (160, 96), box, seen, TRAITS)
    planned = plan_masks(shot, extent, region, mask)
    preview = make_preview(1, 9, shot.mask, mask, seen, SIZES)
    for name in ("x", "y", "width", "height", "grid"):
        assert getattr(preview.crop, name) == getattr(region, name)
    np.testing.assert_allclose(preview.cells, planned.latent, atol=1e-4)
    start = jobs.read(folder).shot.frame_start
    notes = mask_notes(extent.boxes, planned.latent, planned.strays, region, mask, start)
    assert preview.notes == notes
    assert preview.notes or mask.grow_after  # frame 6


@pytest.mark.parametrize("size", [(30, 50), (40, 64), (96, 160)])
def test_scaling_without_opencv_equals_opencv(size):
    frame = np.random.default_rng(0).random((60, 100), np.float32)
    crop = Crop(10, 5, 80, 50, Grid(1, *size))
    method = cv2.INTER_AREA if size[1] < 80 else cv2.INTER_CUBIC
    expected = cv2.resize(frame[5:55, 10:90], size[::-1], interpolation=method)
    seen = crop.mask_as_seen(frame, "mean")
    np.testing.assert_allclose(seen, np.clip(expected, 0, 1), atol=2e-5)


@pytest.mark.parametrize("side", [13, 24, 40, 48, 64, 111])
def test_thin_mask_is_as_strong_at_every_size(side):
    crop = Crop(4, 4, 48, 48, Grid(1, side, side))
    for at in range(48):
        mask = np.zeros((60, 60), np.float32)
        mask[4 + at] = 1
        seen = crop.mask_as_seen(mask)
        assert seen.shape == (side, side)
        touched = np.flatnonzero(seen[:, 0])
        low, high = at * side / 48, (at + 1) * side / 48
        assert touched.tolist() == list(range(int(low), int(np.ceil(high))))
        assert (seen[touched] == 1).all()
        assert (crop.mask_as_seen(1 - mask, "min") == 1 - seen).all()


@pytest.mark.parametrize("side", [24, 48, 96])
def test_mask_grows_by_pixels_of_the_plate(side):
    mask = np.zeros((60, 60), np.float32)
    mask[20:30, 20:30] = 1
    crop = Crop(4, 4, 48, 48, Grid(1, side, side))
    for pixels, low, high in ((6, 10, 32), (-2, 18, 24)):
        grown_ = np.flatnonzero(crop.mask_as_seen(mask, grow_px=pixels)[21 * side // 48])
        assert (grown_[0], grown_[-1] + 1) == (low * side // 48, high * side // 48)


def test_crop_holds_the_grown_mask(tmp_path):
    masks = np.zeros((1, 640, 640), np.float32)
    masks[0, 300:340, 300:340] = 1
    for pixels in (100, 250):
        preview = make_preview(
            1, 1, masks.__getitem__, Mask(grow_px=pixels), RegionSettings(), SIZES
        )
        (y0, x0), (y1, x1) = (pick(np.argwhere(preview.cells[0]), 0) for pick in (np.min, np.max))
        first, last = preview._rect(y0, x0), preview._rect(y1, x1)
        assert first[:2] <= (300 - pixels, 300 - pixels)
        assert last[2:] >= (340 + pixels, 340 + pixels)


def test_black_and_white_of_lossy_video_count_as_such(tmp_path):
    exact, lossy = np.zeros((2, 1, 96, 96), np.float32)
    exact[:, 30:60, 30:60] = 1
    lossy[:] = np.where(exact > 0, 0.98, 0.015)
    lossy[:, 40:50, 40:50] = exact[:, 40:50, 40:50] = 0.5
    seen = [
        make_preview(1, 1, m.__getitem__, Mask(), RegionSettings(), SIZES) for m in (exact, lossy)
    ]
    assert seen[0].crop == seen[1].crop
    assert (seen[0].cells == seen[1].cells).all()
    shots = []
    for name, mask in (("exact", exact), ("lossy", lossy)):
        folder = make_job(tmp_path / name, noise_plate(1, 96, 96), (mask * 65535).astype("u2"))
        shots.append(ShotFrames(folder, jobs.read(folder)))
    assert np.array_equal(shots[0].mask(0), shots[1].mask(0))


def test_cells_are_where_their_pixels_are_and_marked_where_half_covered():
    masks = np.zeros((5, 64, 96), np.float32)
    masks[:, 16:32, 16:36] = 0.5  # the third cell of each row is covered by half
    preview = make_preview(10, 5, masks.__getitem__, Mask(), RegionSettings(mode="whole"), SIZES)
    found = preview.generated(13)
    assert {rect for rect, _, partly in found if not partly} == {
        (16, 16, 24, 24), (24, 16, 32, 24), (16, 24, 24, 32), (24, 24, 32, 32),
    }  # fmt: skip
    assert {rect for rect, _, partly in found if partly} == {(32, 16, 40, 24), (32, 24, 40, 32)}
    assert {value for _, value, _ in found} == {0.5}
    assert (preview.group(10), preview.group(14), preview.group(15)) == (0, 1, None)
    assert preview.generated(9) == []


def test_cell_masked_on_some_frames_of_its_group_is_marked():
    masks = np.zeros((5, 64, 96), np.float32)
    masks[2:, 16:24, 16:24] = 1  # frames 2 to 4 of the group 1 to 4
    preview = make_preview(1, 5, masks.__getitem__, Mask(), RegionSettings(mode="whole"), SIZES)
    assert preview.generated(1) == []
    assert preview.generated(2) == [((16, 16, 24, 24), 1.0, True)]


def test_cells_off_the_canvas_are_generated_but_not_shown():
    masks = np.zeros((5, 50, 84), np.float32)
    masks[:, 30:, 60:] = 1  # leaves the canvas below and on the right
    preview = make_preview(1, 5, masks.__getitem__, Mask(), RegionSettings(mode="whole"), SIZES)
    assert preview.crop.grid.latent_shape == (2, 8, 12)
    assert preview.cells.shape == preview.partly.shape == (2, 7, 11)
    assert max(rect[3] for rect, *_ in preview.generated(3)) == 50
    assert max(rect[2] for rect, *_ in preview.generated(3)) == 84
    assert all(x0 < x1 and y0 < y1 for (x0, y0, x1, y1), *_ in preview.generated(3))
    assert preview.counts(3) == (4 * 4, 4 + 4 - 1)  # of rows 3..6 and columns 7..10


def test_preview_survives_its_file(tmp_path):
    masks = moving_mask(9, 96, 160)
    preview = make_preview(4, 9, masks.__getitem__, Mask(), RegionSettings(), SIZES)
    preview.save(tmp_path / "preview.npz")
    loaded = MaskPreview.load(tmp_path / "preview.npz")
    assert (loaded.crop, loaded.notes, loaded.canvas) == (
        preview.crop,
        preview.notes,
        preview.canvas,
    )
    assert loaded.generated(7) == preview.generated(7) != []


def test_empty_mask_has_no_preview():
    masks = np.zeros((3, 32, 32), np.float32)
    assert make_preview(1, 3, masks.__getitem__, Mask(), RegionSettings(), SIZES) is None
