# SPDX-License-Identifier: GPL-3.0-or-later
"""New Matte as a script calls it: the Mask, its strip, the pixels that they make."""

import numpy as np
import pytest

from tests.blender import media

FULL = 0.75  # Blender draws a soft rim, a pixel wide, outside of an outline


def drawn(path):
    return [{"name": "", "loc": place, "time": 0} for place in path]


@pytest.fixture
def clip(scene):
    """The clip without the matte that the fixture ``scene`` has."""
    strips = scene.sequence_editor.strips
    strips.remove(strips["matte"])
    strips["plate"].select = True
    scene.sequence_editor.active_strip = strips["plate"]
    return strips["plate"]


@pytest.fixture
def new_matte(addon, scene, clip):
    """``new_matte(shape, path)``: the strip that the tool makes."""

    def make(shape, path):
        before = set(scene.sequence_editor.strips_all)
        assert addon.ops.wan.draw_matte(shape=shape, path=drawn(path)) == {"FINISHED"}
        (strip,) = set(scene.sequence_editor.strips_all) - before
        return strip

    return make


@pytest.fixture
def masks(part, scene, clip, tmp_path):
    """``masks()``: the exported mask's frames (n, H, W) in 0..1."""

    def export():
        request = part("timeline.shot").read_shot(scene, clip)
        part("timeline.export").export(request, tmp_path / "job")
        files = sorted((tmp_path / "job" / "mask").iterdir())
        return np.stack([media.read_png(file)[..., 0] / 65535 for file in files])

    return export


def inside(shape, size):
    """(H, W) of bool: what a box or an ellipse from (x0, y0) to (x1, y1) holds."""
    kind, (x0, y0), (x1, y1) = shape
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    if kind == "BOX":
        return (x > x0) & (x < x1) & (y > y0) & (y < y1)
    return ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 < 1


@pytest.mark.parametrize("kind", ["BOX", "ELLIPSE"])
@pytest.mark.parametrize(
    ("size", "percentage"), [((64, 48), 100), ((48, 64), 100), ((128, 96), 50)]
)
def test_shape_generates_where_it_was_drawn(scene, new_matte, masks, kind, size, percentage):
    scene.render.resolution_x, scene.render.resolution_y = size
    scene.render.resolution_percentage = percentage
    strip = new_matte(kind, [(6, 10), (30, 40)])
    assert (strip.type, strip.mute, strip.channel) == ("MASK", True, 3)
    canvas = size[0] * percentage // 100, size[1] * percentage // 100
    for mask in masks():
        wrong = (mask > FULL) != inside((kind, (6, 10), (30, 40)), canvas)
        assert wrong.mean() < 0.01


def test_wide_pixels_do_not_move_it(scene, new_matte, masks):
    scene.render.pixel_aspect_x = 1.5
    new_matte("BOX", [(6, 10), (30, 40)])
    assert ((masks()[0] > FULL) == inside(("BOX", (6, 10), (30, 40)), (64, 48))).mean() > 0.99


def test_lasso_is_a_curve_with_few_points(new_matte, masks):
    angle = np.linspace(0, 2 * np.pi, 150, endpoint=False)
    path = np.stack([32 + 14 * np.cos(angle), 24 + 14 * np.sin(angle)], 1)
    strip = new_matte("LASSO", path.tolist())
    assert len(strip.mask.layers[0].splines[0].points) <= 24
    circle = inside(("ELLIPSE", (18, 10), (46, 38)), (64, 48))
    both = (masks()[0] > FULL) & circle
    assert both.sum() > 0.93 * circle.sum()


def test_strip_lies_on_the_frames_of_the_clip_and_its_mask_counts_as_the_timeline(
    scene, clip, new_matte, part
):
    strip = new_matte("BOX", [(6, 10), (30, 40)])
    compat = part("timeline.compat")
    assert compat.frames(strip) == compat.frames(clip) == range(11, 17)
    assert (strip.mask.frame_start, strip.mask.frame_end) == (11, 16)
    second = new_matte("BOX", [(1, 1), (9, 9)])
    assert second.channel == 4


def test_matte_of_a_clip_in_a_meta_strip_lies_in_it(addon, scene, clip, new_matte, masks, part):
    meta = scene.sequence_editor.strips.new_meta("meta", 5, 11)
    clip.move_to_meta(meta)
    part("timeline.compat").measure_content(meta)
    scene.sequence_editor.display_stack(meta)
    clip.select = True
    strip = new_matte("BOX", [(6, 10), (30, 40)])
    assert strip.parent_meta() == meta
    assert masks()[0].any()


def test_chosen_mattes_get_the_new_one_too(addon, scene, clip, new_matte, part):
    addon.ops.wan.add_matte(matte="empty")
    strip = new_matte("BOX", [(6, 10), (30, 40)])
    chosen = part("host.properties").chosen_mattes(scene, clip.name)
    assert [choice.id for choice in chosen] == ["empty", f"strip:{strip.name}"]


@pytest.mark.parametrize("path", [[], [(5, 5)], [(5, 5), (30, 5)]])
def test_nothing_drawn_is_told_and_nothing_is_made(addon, scene, clip, path):
    with pytest.raises(RuntimeError, match=r"drawn|outline"):
        addon.ops.wan.draw_matte(shape="BOX", path=drawn(path))
    assert len(scene.sequence_editor.strips) == 1
    assert not [mask for mask in addon.data.masks if mask.name != "Square"]


def test_full_channels_leave_nothing_behind(addon, scene, clip, part):
    for number in range(3, 129):
        scene.sequence_editor.channels[number].lock = True
    with pytest.raises(RuntimeError, match="taken"):
        addon.ops.wan.draw_matte(shape="BOX", path=drawn([(6, 10), (30, 40)]))
    assert not [mask for mask in addon.data.masks if mask.name != "Square"]
