# SPDX-License-Identifier: GPL-3.0-or-later
"""The mask overlay without a window: what it is made of, when it is out of date, where it draws."""

import time

import numpy as np
import pytest

LIMIT_S = 60


@pytest.fixture
def plate(scene):
    strip = scene.sequence_editor.strips["plate"]
    strip.select = True
    scene.sequence_editor.active_strip = strip
    return strip


@pytest.fixture
def view(addon, part, plate):
    return part("host.state").host().mask_view


@pytest.fixture
def update(addon, scene, view):
    """Press Update and wait for the background Blender."""

    def press():
        assert addon.ops.wan.update_overlay() == {"FINISHED"}
        deadline = time.monotonic() + LIMIT_S
        while view.busy and time.monotonic() < deadline:
            view.tick()
            time.sleep(0.02)
        assert not view.busy
        return view

    return press


def covered(preview, frame, shape=(48, 64)):
    """(H, W) of bool: the canvas under the cells of ``frame``."""
    canvas = np.zeros(shape, bool)
    for (x0, y0, x1, y1), value, _ in preview.generated(frame):
        assert value > 0
        canvas[round(y0) : round(y1), round(x0) : round(x1)] = True
    return canvas


def test_update_shows_the_cells_under_the_mask(update, addon, part):
    view = update()
    assert view.error is None
    shown = covered(view.preview, 12)
    # The square mask spans 0.3 to 0.7 of 64 px: x 19.2 to 44.8. Its y is centred on 48 px and
    # scaled with the width: 24 +- 12.8, so rows 8 to 40.
    wanted = np.zeros((48, 64), bool)
    wanted[8:40, 16:48] = True
    np.testing.assert_array_equal(shown, wanted)
    assert covered(view.preview, 10).sum() == covered(view.preview, 17).sum() == 0
    inner = [part for rect, _, part in view.preview.generated(12) if rect == (24, 16, 32, 24)]
    edge = [part for rect, _, part in view.preview.generated(12) if rect == (16, 16, 24, 24)]
    assert (inner, edge) == ([False], [True])
    describe = part("panels.mask_overlay").describe
    assert describe(view.preview, 12) == [
        "Model sees 64 x 48 px",
        "16 of 48 cells here, 12 of them partly masked",
    ]
    assert describe(view.preview, 30)[-1] == "The playhead is outside the shot"


def test_settings_and_frame_limits_change_what_is_shown(update, scene):
    scene.wan.mask.grow_px = 8
    scene.wan.mask.frames = "15-"
    view = update()
    assert view.preview.generated(11) == []
    assert covered(view.preview, 12).sum() == 48 * 48  # its group holds frame 15
    assert any("share a latent" in note for note in view.preview.notes)


def test_view_is_out_of_date_after_each_change_that_matters(update, scene, plate, view, addon):
    update()
    view.tick()
    assert not view.stale
    scene.frame_set(14)
    view.tick()
    assert not view.stale
    scene.wan.sampling.steps = 3
    view.tick()
    assert not view.stale
    for change in (
        lambda: setattr(scene.wan.mask, "grow_px", 4),
        lambda: setattr(scene.wan.region, "mode", "whole"),
        lambda: setattr(scene.sequence_editor.strips["matte"], "blend_alpha", 0.5),
        view.note_edit,
    ):
        update()
        view.tick()
        assert not view.stale
        change()
        view.tick()
        assert view.stale


def test_edited_mask_is_noticed(addon, scene, view):
    before = view._edits
    addon.data.masks["Square"].layers[0].splines[0].points[0].co = (0.1, 0.1)
    addon.data.masks["Square"].update_tag()
    addon.context.view_layer.update()
    assert view._edits > before


def test_change_is_followed_once_it_has_settled(update, scene, view, part, monkeypatch):
    update()
    monkeypatch.setattr(part("host.mask_view"), "QUIET_S", 0.0)
    # the copy is worth waiting for, however long a busy machine takes to save it
    monkeypatch.setattr(part("host.mask_view"), "WORTH_WAITING_S", float("inf"))
    scene.wan.mask.grow_px = 8
    first = view.preview
    view.tick()
    assert view.busy
    while view.busy:
        view.tick()
        time.sleep(0.02)
    assert view.preview is not first
    assert len(view.preview.generated(12)) > len(first.generated(12))
    assert not view.stale


def test_empty_mask_is_told_and_shows_nothing(update, addon):
    addon.data.masks["Square"].layers[0].alpha = 0.0
    view = update()
    assert view.error.code == "EmptyMask"
    assert view.preview is None


def test_no_clip_is_told_once_and_not_tried_again(addon, scene, view, plate, part, monkeypatch):
    monkeypatch.setattr(part("host.mask_view"), "QUIET_S", 0.0)
    for strip in scene.sequence_editor.strips:
        strip.select = False
    scene.sequence_editor.active_strip = None
    assert view.tick()
    assert view.error.code == "NothingSelected"
    assert not view.tick()


def test_update_leaves_no_folder_and_no_unsaved_mark(update, addon, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    view = update()
    assert view.preview
    assert list(tmp_path.glob("wan-mask-*")) == []


def test_canvas_maps_to_the_region_upside_down(addon, part):
    to_region = part("panels.mask_overlay").to_region
    corners = ((100, 50), (420, 290))  # 64x48 shown five times as large
    placed = to_region(np.array([(0, 0, 64, 48), (16, 8, 24, 16)]), (64, 48), corners)
    np.testing.assert_allclose(placed, [(100, 290, 420, 50), (180, 250, 220, 210)])
