# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np

from wan_blender.core.mask_settings import Mask
from wan_blender.masks import grid as lg
from wan_blender.masks.crop import Crop
from wan_blender.masks.notes import mask_notes
from wan_blender.masks.preview import frame_cells, latent_mask


def _notes(mask, frame_start=0, seen=None, **settings):
    grid = lg.Grid(len(mask), *(seen or mask.shape[1:]))
    crop = Crop(0, 0, mask.shape[2], mask.shape[1], grid)
    settings = Mask(**settings)
    boxes = []
    for frame in mask:
        ys, xs = np.nonzero(frame)
        boxes.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else None)
    of_frames = frame_cells(mask, crop, settings)
    cells = latent_mask(of_frames, crop, settings)
    strays = lg.stray_cells(of_frames, cells, grid)
    return mask_notes(boxes, cells, strays, crop, settings, frame_start)


def _square(frames, x_of_frame, size=32):
    mask = np.zeros((frames, 64, 640), np.float32)
    for i in range(frames):
        x = x_of_frame(i)
        if x is not None:
            mask[i, 16 : 16 + size, x : x + size] = 1
    return mask


def test_calm_mask_has_no_notes():
    assert _notes(_square(17, lambda i: 100 + i)) == []


def test_fast_mask_says_how_far_and_where():
    (note,) = _notes(_square(9, lambda i: 20 + (50 * (i - 4) if i > 4 else 0)))
    assert note.startswith("The mask moves 150 px within one latent group (frames 5 to 8)")


def test_share_of_what_is_off_the_mask_is_of_the_worst_frame():
    mask = _square(9, lambda i: 24 + 48 * max(i - 4, 0))  # 72 to 216: four times 16 cells, apart
    (note,) = _notes(mask)
    assert note.endswith("75% of what is generated on frame 5 lies off the mask there.")


def test_large_mask_that_moves_by_little_of_itself_is_calm():
    assert _notes(_square(9, lambda i: 16 + 8 * i, size=40)) != []
    mask = np.zeros((9, 64, 640), np.float32)
    for i in range(9):
        mask[i, :, 8 * i : 400 + 8 * i] = 1
    assert _notes(mask) == []


def test_second_mask_that_appears_does_not_move():
    mask = _square(9, lambda i: 20)
    mask[3:, 16:48, 500:532] = 1  # from the third frame of the group 1 to 4 on
    (note,) = _notes(mask)
    assert note.startswith("The mask changes within one latent group (frames 1 to 4): 50% of")
    assert "on frame 1 " in note


def test_mask_that_grows_evenly_is_told():
    mask = np.zeros((9, 128, 128), np.float32)
    for i in range(9):
        mask[i, 64 - 7 * i : 64 + 7 * i, 64 - 7 * i : 64 + 7 * i] = 1
    (note, *_) = _notes(mask)
    assert note.startswith("The mask changes within one latent group (frames 1 to 4): ")


def test_only_what_is_generated_counts():
    fast = _square(9, lambda i: 24 + 8 * i)
    assert _notes(fast) != []
    assert _notes(fast, reduction="min") == []


def test_frames_that_share_a_latent_are_counted():
    (note,) = _notes(_square(9, lambda i: 50 if i >= 2 else None))
    assert note.startswith("1 frame is generated because")
    assert "(frame 1)" in note
    (note,) = _notes(_square(13, lambda i: 50 if i in (6, 7) else None))
    assert note.startswith("2 frames are generated")
    assert "(frames 5, 8)" in note


def test_frames_are_those_of_the_timeline():
    (note,) = _notes(_square(9, lambda i: 50 if i >= 2 else None), frame_start=101)
    assert "(frame 102)" in note
    (note,) = _notes(_square(9, lambda i: 20 + (50 * (i - 4) if i > 4 else 0)), frame_start=-4)
    assert "(frames 1 to 4)" in note
    notes = _notes(_square(9, lambda i: 50 if i == 3 else None), frame_start=-4)
    assert notes[-1] == "The mask is there for a single frame at frame -1."


def test_way_is_told_in_pixels_of_the_plate():
    (note,) = _notes(_square(9, lambda i: 20 + (50 * (i - 4) if i > 4 else 0)), seen=(32, 320))
    assert note.startswith("The mask moves 150 px")


def test_frames_that_growth_asks_for_are_no_surprise():
    mask = _square(9, lambda i: 50 if i < 5 else None)
    assert _notes(mask, grow_after=4) == []
    (note,) = _notes(mask, grow_after=1)
    assert "(frames 6-8)" in note


def test_tiny_mask_is_named():
    (note,) = _notes(_square(5, lambda i: 50, size=5))
    assert "smaller than one latent cell (5 of 8 px)" in note
    assert _notes(_square(5, lambda i: 50, size=5), grow_px=2) == []


def test_single_frame_is_named():
    notes = _notes(_square(9, lambda i: 50 if i == 3 else None))
    assert any(note == "The mask is there for a single frame at frame 3." for note in notes)
    assert _notes(_square(1, lambda i: 50)) == []
