# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix view in real Blender: opened on a strip, painted, treated, written into the job."""

import json
import struct
import time
import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

W, H = 320, 192


def save_picture(bpy, pixels, path):
    """Write pixels (H, W, 4) in 0..1, bottom row first, as a PNG."""
    height, width = pixels.shape[:2]
    image = bpy.data.images.new(path.stem, width, height)
    image.pixels.foreach_set(pixels.ravel())
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)


@pytest.fixture
def shot(addon, part, tmp_path):
    """A calm picture with a small block of stripes, in bars that are its shape, as the selected
    image strip of the scene."""
    bpy = addon
    pixels = np.full((H, W, 4), 0.5, np.float32)
    for x in range(100, 140, 12):
        pixels[80:112, x : x + 6, :3] = 0.95
        pixels[80:112, x + 2 : x + 6 : 4, :3] = 0.3
    pixels[..., 3] = 1
    save_picture(bpy, pixels, tmp_path / "plate.png")
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = W, H
    scene.render.resolution_percentage = 100
    strips = scene.sequence_editor_create().strips
    strip = strips.new_image("Room", str(tmp_path / "plate.png"), 1, 1)
    part("timeline.compat").set_length(strip, 8)
    scene.sequence_editor.active_strip = strip
    scene.wan.model.path = str(tmp_path / "wan")  # the bundled model would see 128 pixels
    return bpy


@pytest.mark.parametrize("kind", ["gray", "alpha", "16 bits", "one pixel", "8k"])
def test_clips_of_every_sort_are_looked_at(shot, part, tmp_path, kind):
    width, height = {"one pixel": (1, 1), "8k": (7680, 4320)}.get(kind, (W, H))
    image = shot.data.images.new(
        "odd", width, height, alpha=kind == "alpha", float_buffer=kind == "16 bits"
    )
    image.generated_color = (0.5, 0.5, 0.5, 0.25 if kind == "alpha" else 1)
    settings = shot.context.scene.render.image_settings
    settings.color_depth = "16" if kind == "16 bits" else "8"
    settings.color_mode = {"gray": "BW", "alpha": "RGBA"}.get(kind, "RGB")
    image.save_render(str(tmp_path / "odd.png"))
    strips = shot.context.scene.sequence_editor.strips
    strip = strips.new_image("Odd", str(tmp_path / "odd.png"), 3, 1)
    shot.context.scene.sequence_editor.active_strip = strip
    assert shot.ops.wan.open_hygiene_view() == {"FINISHED"}
    view = part("matrix_view").view()
    assert view.size == (W, H)
    assert np.isfinite(view.matrix.score)
    assert view.name == "Odd"


def test_an_image_is_looked_at_at_generation_size(shot, part):
    image = shot.data.images.new("Still", 1664, 960)
    assert shot.ops.wan.open_hygiene_view(image=image.name) == {"FINISHED"}
    view = part("matrix_view").view()
    assert view.size == (832, 480)
    assert view.name == "Still"
    assert not view.is_clip
    with pytest.raises(RuntimeError, match="no image 'Gone'"):
        shot.ops.wan.open_hygiene_view(image="Gone")


def write_rgba(path, pixels: np.ndarray) -> None:
    """(H, W, 4) uint8 or uint16 as PNG."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, 6, 0, 0, 0)
    content = zlib.compress(np.insert(rows, 0, 0, axis=1).tobytes())
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in ((b"IHDR", header), (b"IDAT", content), (b"IEND", b""))
        )
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_image_is_read_as_it_is_displayed_at_every_depth(shot, part, tmp_path, dtype):
    top = np.iinfo(dtype).max
    pixels = np.full((H, W, 4), round(0.75 * top), dtype)
    pixels[:, : W // 2, 3] = top
    write_rgba(tmp_path / "a.png", pixels)
    image = shot.data.images.load(str(tmp_path / "a.png"))
    assert image.is_float == (dtype is np.uint16)
    for space in ("sRGB", "Non-Color"):
        image.colorspace_settings.name = space
        shot.ops.wan.open_hygiene_view(image=image.name)
        rgb = part("matrix_view").view().rgb
        np.testing.assert_allclose(rgb[:, : W // 2 - 4], 0.75, atol=0.003)
        if space == "sRGB":  # over white where it is transparent, as a start frame is to a run
            np.testing.assert_allclose(rgb[:, W // 2 + 4 :], 0.25 + 0.75 * 0.75, atol=0.003)


def test_a_clip_without_its_file_is_refused_with_the_path(shot, tmp_path):
    (tmp_path / "plate.png").unlink()
    with pytest.raises(RuntimeError, match=r"plate\.png"):
        shot.ops.wan.open_hygiene_view()


def room(bpy):
    return bpy.context.scene.sequence_editor.strips_all["Room"]


def settle(view) -> None:
    """Let the thread finish and take its results, as the timer does in a window."""
    deadline = time.monotonic() + 180
    view.tick()
    while view.busy or view.waits_for_mask:
        assert time.monotonic() < deadline
        time.sleep(0.01)
        view.tick()


def paint(view, rows: slice, columns: slice, value: float) -> None:
    pixels = np.array(view.image.pixels[:], np.float32).reshape(H, W, 4)
    pixels[rows, columns, :3] = value
    view.image.pixels.foreach_set(pixels.ravel())


def test_open_reads_the_frame_and_lists_its_sinks(shot, part):
    assert shot.ops.wan.open_hygiene_view() == {"FINISHED"}
    view = part("matrix_view").view()
    settings = shot.context.window_manager.wan_matrix
    assert view.rgb.shape == (H, W, 3)
    assert view.rgb[100, 100, 0] != pytest.approx(0.5, abs=0.1)  # rows run from the top
    assert view.rgb[20, 20, 0] == pytest.approx(0.5, abs=0.01)
    assert view.name == "Room"
    assert settings.score > 1
    boxes = [tuple(item.box) for item in settings.sinks]
    assert len(boxes) == 1
    x, y = boxes[0][:2]
    assert abs(x - 100) < 16
    assert abs(y - (H - 112)) < 16
    assert tuple(view.image.size) == (W, H)


def test_painting_dims_the_view_there_only(shot, part):
    shot.ops.wan.open_hygiene_view()
    view = part("matrix_view").view()
    before = view.after.glow.copy()
    paint(view, slice(60, 130), slice(80, 160), 0.6)
    settle(view)
    stripes = np.s_[H - 112 : H - 80, 100:140]
    assert view.after.glow[stripes].mean() < 0.3 * before[stripes].mean()
    np.testing.assert_array_equal(view.treated[:40], view.rgb[:40])


def test_painting_too_much_warns_at_the_region_until_it_is_taken_back(shot, part):
    shot.ops.wan.open_hygiene_view()
    view, settings = part("matrix_view").view(), shot.context.window_manager.wan_matrix
    paint(view, slice(0, H), slice(0, W), 0.2)
    settle(view)
    assert settings.sinks[0].warning == ""
    paint(view, slice(0, H), slice(0, W), 1.0)
    settle(view)
    x, y = settings.sinks[0].box[:2]
    assert f"at {x}, {y} has lost" in settings.sinks[0].warning
    shot.ops.wan.clear_hygiene()
    settle(view)
    assert settings.sinks[0].warning == ""


def test_treat_paints_just_enough_for_the_ticked_sinks(shot, part):
    shot.ops.wan.open_hygiene_view()
    view, settings = part("matrix_view").view(), shot.context.window_manager.wan_matrix
    settle(view)
    score = view.matrix.score
    assert shot.ops.wan.treat_hygiene() == {"FINISHED"}
    settle(view)
    settle(view)
    assert 0.3 < settings.sinks[0].radius < 2.5
    assert view.radius.max() == pytest.approx(settings.sinks[0].radius, abs=0.02)
    assert view.after.score < 0.8 * score
    assert shot.context.scene.wan.hygiene.mode == "soft"
    shot.ops.wan.clear_hygiene()
    settle(view)
    assert view.radius.max() == 0
    assert view.after.score == pytest.approx(score, rel=1e-3)


def test_treating_an_image_leaves_the_mode_of_the_clip(shot, part, tmp_path):
    image = shot.data.images.load(str(tmp_path / "plate.png"))
    shot.ops.wan.open_hygiene_view(image=image.name)
    view, settings = part("matrix_view").view(), shot.context.window_manager.wan_matrix
    settle(view)
    assert shot.ops.wan.treat_hygiene() == {"FINISHED"}
    settle(view)
    assert settings.sinks[0].radius > 0
    assert shot.context.scene.wan.hygiene.mode == "off"  # its map goes into no job


def test_matte_blurs_where_it_is_white_on_this_frame(shot, part):
    add_matte(shot, "Left half", ((-1, -1), (0.5, -1), (0.5, 2), (-1, 2)))
    shot.ops.wan.open_hygiene_view()
    view = part("matrix_view").view()
    shot.ops.wan.add_hygiene_matte(matte="mask:Left half", radius=1.5)
    settle(view)
    assert view.radius[:, : W // 2 - 2] == pytest.approx(1.5, abs=0.02)
    assert view.radius[:, W // 2 + 2 :] == pytest.approx(0, abs=0.02)


def add_matte(bpy, name: str, corners) -> None:
    mask = bpy.data.masks.new(name)
    spline = mask.layers.new(name="Layer").splines.new()
    spline.points.add(3)
    spline.use_cyclic = True
    for point, corner in zip(spline.points, corners):
        point.co = corner
        point.handle_left_type = point.handle_right_type = "VECTOR"
    return mask


EVERYWHERE = ((-1, -1), (2, -1), (2, 2), (-1, 2))
PATCH = ((0.45, 0.45), (0.55, 0.45), (0.55, 0.55), (0.45, 0.55))


def open_settled(bpy, part):
    assert bpy.ops.wan.open_hygiene_view() == {"FINISHED"}
    view = part("matrix_view").view()
    settle(view)
    return view


def treat(bpy, view) -> None:
    assert bpy.ops.wan.treat_hygiene() == {"FINISHED"}
    settle(view)
    settle(view)


def add_clip(bpy, part, name: str, channel: int, path):
    """Another clip, made the active one."""
    strip = bpy.context.scene.sequence_editor.strips.new_image(name, str(path), channel, 1)
    part("timeline.compat").set_length(strip, 8)
    bpy.context.scene.sequence_editor.active_strip = strip
    return strip


@pytest.fixture
def masked(shot, part, tmp_path):
    """A calm canvas of 1280x720 with stripes two pixels apart inside a small mask, and others far
    from it."""
    width, height = 1280, 720
    pixels = np.full((height, width, 4), 0.5, np.float32)
    for x, y in ((620, 350), (100, 100)):
        pixels[y : y + 30, x : x + 40 : 4, :3] = 0.95
    pixels[..., 3] = 1
    save_picture(shot, pixels, tmp_path / "large.png")
    scene = shot.context.scene
    scene.render.resolution_x, scene.render.resolution_y = width, height
    room(shot).directory, room(shot).elements[0].filename = f"{tmp_path}/", "large.png"
    mask = add_matte(shot, "Patch", PATCH)
    strip = scene.sequence_editor.strips.new_mask(name="matte", mask=mask, channel=3, frame_start=1)
    part("timeline.compat").set_length(strip, 8)
    scene.sequence_editor.active_strip = room(shot)
    return shot


def test_a_masked_shot_is_looked_at_as_the_model_will_see_it(masked, part):
    assert masked.ops.wan.open_hygiene_view() == {"FINISHED"}
    view = part("matrix_view").view()
    assert view.waits_for_mask  # in another process: nothing was held up
    assert view.part.is_whole
    before = view.matrix.score
    settle(view)
    crop = part("host.state").host().mask_view.preview.crop
    assert crop.width < 640
    assert view.part.box == (crop.x, crop.y, crop.x + crop.width, crop.y + crop.height)
    assert view.size == (crop.grid.width, crop.grid.height)
    sinks = masked.context.window_manager.wan_matrix.sinks
    assert len(sinks) == 1  # those that the model does not see are not listed
    x, y = sinks[0].box[:2]
    assert abs(x - (620 - crop.x)) < 16
    assert abs(y - (720 - 380 - crop.y)) < 16
    assert view.matrix.score > 3 * before  # of what the model sees, not of the canvas
    treat(masked, view)
    painted = part("host.blur_map").read_map(view.image)
    scale = painted.shape[1] / 1280
    rows, columns = np.nonzero(painted > 0.02)
    assert 560 * scale < columns.min() < columns.max() < 720 * scale
    assert 300 * scale < rows.min() < rows.max() < 420 * scale
    radius = sinks[0].radius
    assert view.radius.max() == pytest.approx(radius, rel=0.05)
    again = open_settled(masked, part)
    assert again.part == view.part  # the mask is known by now
    assert again.radius.max() == pytest.approx(radius, rel=0.05)


def test_a_mask_that_would_hold_up_the_interface_is_not_looked_at_unasked(
    masked, part, monkeypatch
):
    monkeypatch.setattr(part("host.mask_view").MaskView, "_saves_fast", lambda self: False)
    view = open_settled(masked, part)
    assert view.part.is_whole
    assert view.mask.seen is None
    said = sequencer_panel(masked, part)
    assert "mask has not been analysed" in said
    assert "wan.update_overlay" in said
    masked.ops.wan.update_overlay()
    settle(view)
    assert not view.part.is_whole
    assert "not been analysed" not in sequencer_panel(masked, part)
    masked.context.window_manager.wan_mask.show = False


class Recorder:
    """Stands for a layout, and keeps all words."""

    def __init__(self, words: list[str]) -> None:
        object.__setattr__(self, "words", words)

    def __getattr__(self, name: str):
        def call(*args, **settings):
            self.words.extend(str(a) for a in args if isinstance(a, str))
            self.words.append(str(settings.get("text", "")))
            return Recorder(self.words)

        return call

    def __setattr__(self, name: str, value: object) -> None:
        pass


def sequencer_panel(bpy, part) -> str:
    """What the panel in the sequencer says."""
    context = SimpleNamespace(
        window_manager=bpy.context.window_manager,
        scene=bpy.context.scene,
        space_data=None,
        region=SimpleNamespace(width=10_000),
        preferences=SimpleNamespace(system=SimpleNamespace(ui_scale=1)),
    )
    panel = SimpleNamespace(layout=Recorder([]))
    cls = part("panels.matrix").WAN_PT_start_frame
    panel.draw_frame = lambda *args: cls.draw_frame(panel, *args)
    cls.draw(panel, context)
    return "\n".join(panel.layout.words)


def test_the_sequencers_block_speaks_of_the_selected_clip_alone(shot, part, tmp_path):
    view = open_settled(shot, part)
    assert f"Room: {view.matrix.score:.0f} of 100" in sequencer_panel(shot, part)
    add_clip(shot, part, "Other", 2, tmp_path / "plate.png")
    said = sequencer_panel(shot, part)
    assert "Room" not in said
    assert "Other: not analysed yet" in said
    for button in ("wan.open_hygiene_view", "wan.treat_hygiene", "mode"):
        assert button in said
    assert not shot.ops.wan.treat_hygiene.poll()
    with pytest.raises(RuntimeError, match="matrix view of Other"):
        shot.ops.wan.treat_hygiene()
    assert not shot.ops.wan.clear_hygiene.poll()
    shot.context.scene.sequence_editor.active_strip = room(shot)
    assert shot.ops.wan.treat_hygiene.poll()
    shot.context.scene.sequence_editor.active_strip = None
    for strip in shot.context.scene.sequence_editor.strips:
        strip.select = False
    assert "of 100" not in sequencer_panel(shot, part)


def test_the_block_remembers_the_score_of_a_clip_that_was_looked_at(shot, part, tmp_path):
    view = open_settled(shot, part)
    treat(shot, view)
    add_clip(shot, part, "Other", 2, tmp_path / "plate.png")
    open_settled(shot, part)
    shot.context.scene.sequence_editor.active_strip = room(shot)
    words = f"Room: {view.matrix.score:.0f} of 100, now {view.after.score:.0f}"
    assert words in sequencer_panel(shot, part)


@pytest.mark.parametrize(
    "name", ["A003_C012_0612AB_001_graded_v03_final_for_review_4k_take2", "日本語のクリップ" * 4]
)
def test_clips_of_long_names_have_a_map(shot, part, name):
    room(shot).name = name
    strip = shot.context.scene.sequence_editor.active_strip
    for _ in range(2):
        view = open_settled(shot, part)
    assert part("host.blur_map").is_map(view.image)
    treat(shot, view)
    assert view.radius.max() > 0.3
    part("host.blur_map").require_map(part("host.properties").read(shot.context.scene), strip)
    maps = [i for i in shot.data.images if part("host.blur_map").is_map(i)]
    assert [i.users for i in maps].count(1) == 1


def test_map_stays_with_its_strip_when_that_is_renamed(shot, part, tmp_path):
    view = open_settled(shot, part)
    paint(view, slice(10, 20), slice(30, 50), 0.5)
    room(shot).name = "Graded"
    strip = shot.context.scene.sequence_editor.active_strip
    settle(view)
    assert view.name == "Graded"
    treat(shot, view)
    assert view.radius[-15, 40] == pytest.approx(1.25, abs=0.01)
    settings = part("host.properties").read(shot.context.scene)
    part("host.blur_map").save_map(tmp_path, strip, settings)
    assert (tmp_path / part("core.job").RADIUS).exists()
    assert open_settled(shot, part).radius[-15, 40] == pytest.approx(1.25, abs=0.01)


def test_a_strip_of_the_same_name_in_another_scene_has_no_map(shot, part, tmp_path):
    view = open_settled(shot, part)
    paint(view, slice(10, 20), slice(30, 50), 0.5)
    other = shot.data.scenes.new("Other")
    strip = other.sequence_editor_create().strips.new_image(
        "Room", str(tmp_path / "plate.png"), 1, 1
    )
    shot.context.scene.wan.hygiene.mode = "soft"
    settings = part("host.properties").read(shot.context.scene)
    part("host.blur_map").require_map(settings, room(shot))
    with pytest.raises(part("core.errors").InvalidJob, match="nothing is painted"):
        part("host.blur_map").require_map(settings, strip)


def test_without_a_map_soft_is_refused_unless_another_picture_is_treated(shot, part):
    wan, require = shot.context.scene.wan, part("host.blur_map").require_map
    wan.hygiene.mode = "soft"
    for name in ("end_image", "references"):
        with pytest.raises(part("core.errors").InvalidJob, match="nothing is painted"):
            require(part("host.properties").read(shot.context.scene), room(shot))
        setattr(wan.model_mask, name, "/tmp/picture.png")
        require(part("host.properties").read(shot.context.scene), room(shot))
        setattr(wan.model_mask, name, "")
    wan.hygiene.mode = "scheduled"
    require(part("host.properties").read(shot.context.scene), room(shot))
    wan.hygiene.low_pass_region = "map"
    with pytest.raises(part("core.errors").InvalidJob, match="'scheduled'"):
        require(part("host.properties").read(shot.context.scene), room(shot))


def test_a_copied_strip_shares_the_map_until_its_own_view_is_opened(shot, part):
    view, maps = open_settled(shot, part), part("host.blur_map")
    paint(view, slice(10, 20), slice(30, 50), 0.5)
    copied = shot.context.scene.sequence_editor.strips.new_image("Room 2", "", 4, 1)
    copied.directory, copied.elements[0].filename = room(shot).directory, "plate.png"
    copied[maps.MAP] = room(shot)[maps.MAP]  # as duplicating a strip does
    editor = shot.context.scene.sequence_editor
    editor.active_strip = copied
    assert "shares its blur map with Room " in sequencer_panel(shot, part)
    other = open_settled(shot, part)
    assert other.image != maps.find_map(room(shot))
    assert other.radius[-15, 40] == pytest.approx(1.25, abs=0.01)
    shot.ops.wan.clear_hygiene()
    assert maps.read_map(maps.find_map(room(shot))).max() == pytest.approx(0.5)
    assert "shares" not in sequencer_panel(shot, part)


def test_treating_one_of_two_strips_that_share_a_map_leaves_the_other(shot, part, tmp_path):
    maps = part("host.blur_map")
    strip = add_clip(shot, part, "Second", 2, tmp_path / "plate.png")
    view = open_settled(shot, part)
    room(shot)[maps.MAP] = strip[maps.MAP]  # as if it were a copy of that
    treat(shot, view)
    assert maps.read_map(maps.find_map(room(shot))).max() == 0
    strip.name = "Zoom"
    assert view.name == "Zoom"
    assert view.painted().max() > 0.3


def test_treat_and_clear_are_undone_and_redone(shot, part):
    ed = shot.ops.ed
    shot.ops.wan.open_hygiene_view()
    view = part("matrix_view").view()
    ed.undo_push(message="Open Matrix View")  # as the operator does in a window
    paint(view, slice(10, 20), slice(30, 50), 0.5)  # a stroke: kept by image, in its own step
    settle(view)
    by_hand = view.painted()
    treat(shot, view)
    treated = view.painted()
    assert treated.max() > by_hand.max() * 0.2
    assert not np.array_equal(treated, by_hand)
    shot.ops.wan.clear_hygiene()
    ed.undo_push(message="Clear Blur Map")
    assert view.painted().max() == 0
    ed.undo()
    np.testing.assert_allclose(view.painted(), treated, atol=0.01)
    assert shot.context.scene.wan.hygiene.mode == "soft"
    ed.undo()
    np.testing.assert_allclose(view.painted(), by_hand, atol=0.01)
    assert shot.context.scene.wan.hygiene.mode == "off"
    ed.redo()
    np.testing.assert_allclose(view.painted(), treated, atol=0.01)
    ed.redo()
    assert view.painted().max() == 0
    ed.undo()
    treat(shot, view)  # goes on from there


def test_map_is_not_degraded_by_a_smaller_size_and_back(shot, part):
    scene = shot.context.scene
    view, read = open_settled(shot, part), part("host.blur_map").read_map
    paint(view, slice(0, H), slice(0, W, 2), 0.8)  # finer than the small one can hold
    before = read(view.image)
    scene.wan.region.pixels = W * H // 4
    small = open_settled(shot, part)
    assert small.size == (W // 2, H // 2)
    np.testing.assert_array_equal(read(small.image), before)
    half = 0.5 * 0.5 * 0.8 * 2.5  # of the pixels are painted, and each is half as large
    assert small.radius[40, 40] == pytest.approx(half, abs=0.02)
    assert small.gray == pytest.approx(2 / 2.5)  # one pixel here is two of the map
    treat(shot, small)
    scene.wan.region.pixels = 0
    assert (read(open_settled(shot, part).image) >= before - 1e-3).all()


def test_map_of_a_small_view_grows_with_a_larger_one(shot, part):
    scene = shot.context.scene
    scene.wan.region.pixels = W * H // 4
    small = open_settled(shot, part)
    small.add(np.full((H // 2, W // 2), 1.0, np.float32))
    scene.wan.region.pixels = 0
    large = open_settled(shot, part)
    assert large.radius == pytest.approx(2.0, abs=0.02)
    scene.wan.region.pixels = W * H // 4
    assert open_settled(shot, part).radius == pytest.approx(1.0, abs=0.02)


def test_strength_counts_in_the_view_and_in_its_warnings(shot, part):
    view, settings = open_settled(shot, part), shot.context.window_manager.wan_matrix
    paint(view, slice(0, H), slice(0, W), 0.45)
    settle(view)
    assert settings.sinks[0].warning == ""
    shot.context.scene.wan.hygiene.strength = 2
    settle(view)
    assert view.radius == pytest.approx(2.25, abs=0.01)
    assert "has lost" in settings.sinks[0].warning
    np.testing.assert_array_equal(view.treated, view.treated_now())


def test_a_followed_matte_is_seen_and_warned_of(shot, part):
    view, hygiene = open_settled(shot, part), shot.context.scene.wan.hygiene
    add_matte(shot, "All", EVERYWHERE)
    hygiene.mode, hygiene.matte, hygiene.matte_blur_px = "soft", "All", 2.5
    settle(view)
    assert view.radius == pytest.approx(2.5, abs=0.01)
    assert view.after.score < 0.5 * view.matrix.score
    assert "has lost" in shot.context.window_manager.wan_matrix.sinks[0].warning
    assert view.painted().max() == 0  # the map stays what was painted
    hygiene.matte_blur_px = 0.5
    settle(view)
    assert view.radius == pytest.approx(0.5, abs=0.01)
    hygiene.matte = "Gone"
    settle(view)
    assert view.radius.max() == 0
    assert "There is no matte 'Gone'" in sequencer_panel(shot, part)
    hygiene.mode, hygiene.matte = "scheduled", "All"
    settle(view)
    assert view.radius.max() == 0


def test_keep_edges_is_followed_while_the_view_is_open(shot, part):
    view = open_settled(shot, part)
    paint(view, slice(0, H), slice(0, W), 1.0)
    settle(view)
    without = view.treated
    shot.context.scene.wan.hygiene.keep_edges = True
    settle(view)
    assert not np.array_equal(view.treated, without)
    expected = part("hygiene.blur").soften(view.rgb, view.radius, True)
    np.testing.assert_array_equal(view.treated, expected)


def test_maps_and_render_results_are_no_pictures_to_look_at(shot, part):
    view = open_settled(shot, part)
    with pytest.raises(RuntimeError, match="is a blur map"):
        shot.ops.wan.open_hygiene_view(image=view.image.name)
    assert len([i for i in shot.data.images if part("host.blur_map").is_map(i)]) == 1
    result = shot.data.images["Render Result"]
    with pytest.raises(RuntimeError, match="Save it, and open its file"):
        shot.ops.wan.open_hygiene_view(image=result.name)


def test_a_clip_with_alpha_is_seen_without_it_as_the_model_sees_it(shot, part, tmp_path):
    pixels = np.full((H, W, 4), 200, np.uint8)
    pixels[..., 3] = 255
    pixels[:, W // 2 :] = 0
    write_rgba(tmp_path / "half.png", pixels)
    add_clip(shot, part, "Half", 2, tmp_path / "half.png")
    rgb = open_settled(shot, part).rgb
    np.testing.assert_allclose(rgb[:, : W // 2 - 4], 200 / 255, atol=0.01)
    np.testing.assert_allclose(rgb[:, W // 2 + 4 :], 0, atol=0.01)


def test_nothing_ticked_is_said(shot, part):
    shot.ops.wan.open_hygiene_view()
    settle(part("matrix_view").view())
    for item in shot.context.window_manager.wan_matrix.sinks:
        item.treat = False
    with pytest.raises(RuntimeError, match="ticked"):
        shot.ops.wan.treat_hygiene()


def test_map_is_written_into_the_job_as_it_is_painted(shot, part, tmp_path):
    shot.ops.wan.open_hygiene_view()
    maps, job = part("host.blur_map"), part("core.job")
    view = part("matrix_view").view()
    settings = part("host.properties").read(shot.context.scene)
    maps.save_map(tmp_path, room(shot), settings)
    assert not (tmp_path / job.RADIUS).exists()  # black: nothing is blurred
    paint(view, slice(10, 20), slice(30, 50), 0.5)
    maps.save_map(tmp_path, room(shot), settings)
    image = shot.data.images.load(str(tmp_path / job.RADIUS))
    image.colorspace_settings.name = "Non-Color"
    stored = np.array(image.pixels[:], np.float32).reshape(H, W, -1)[..., 0]
    assert stored[15, 40] == pytest.approx(0.5, abs=1e-4)
    assert stored[100, 100] == 0


def test_map_survives_saving_and_opening_the_file(shot, part, tmp_path):
    shot.ops.wan.open_hygiene_view()
    paint(part("matrix_view").view(), slice(10, 20), slice(30, 50), 0.5)
    shot.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    shot.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    settings = part("host.properties").read(shot.context.scene)
    part("host.blur_map").save_map(tmp_path, room(shot), settings)
    assert (tmp_path / part("core.job").RADIUS).exists()


def test_map_of_an_image_goes_into_the_job_that_starts_from_it(shot, part, tmp_path):
    path = tmp_path / "still.png"
    still = shot.data.images.new("Still", W, H)
    still.filepath_raw, still.file_format = str(path), "PNG"
    still.save()
    maps, job, wan = part("host.blur_map"), part("core.job"), shot.context.scene.wan
    shot.ops.wan.open_hygiene_view(image="Still")
    paint(part("matrix_view").view(), slice(10, 20), slice(30, 50), 0.5)
    wan.hygiene.mode = "soft"
    for named, written in (("", False), (str(tmp_path / "plate.png"), False), (str(path), True)):
        wan.model_mask.start_image = named
        settings = part("host.properties").read(shot.context.scene)
        if not written:
            with pytest.raises(part("core.errors").InvalidJob, match="nothing is painted"):
                maps.require_map(settings, room(shot))
        else:
            maps.require_map(settings, room(shot))
        maps.save_map(tmp_path, room(shot), settings)
        assert (tmp_path / job.START_RADIUS).exists() == written
    assert not (tmp_path / job.RADIUS).exists()


def test_views_show_what_they_name(shot, part):
    shot.ops.wan.open_hygiene_view()
    view = part("matrix_view").view()
    paint(view, slice(0, H), slice(0, W), 0.5)
    settle(view)
    np.testing.assert_array_equal(view.picture("ORIGINAL", 0.5), view.rgb)
    bands = [view.picture("MATRIX", 0.5, band) for band in "012"]
    whole = view.picture("MATRIX", 0.5, "ALL")
    assert all(0 < band.sum() < whole.sum() for band in bands)
    np.testing.assert_array_equal(view.picture("TREATED", 0.5), view.treated)
    wipe = view.picture("WIPE", 0.25)
    np.testing.assert_array_equal(wipe[:, : W // 4], view.rgb[:, : W // 4])
    np.testing.assert_array_equal(wipe[:, W // 4 :], view.treated[:, W // 4 :])
    assert view.picture("DIFFERENCE", 0.5)[10, 10, 0] == pytest.approx(0.5, abs=0.01)


def test_without_a_clip_the_operator_says_why(addon):
    assert not addon.ops.wan.open_hygiene_view.poll()


def test_opening_leaves_scenes_and_images_as_they_were(shot):
    before = {s.name for s in shot.data.scenes}, {i.name for i in shot.data.images}
    shot.ops.wan.open_hygiene_view()
    after = {s.name for s in shot.data.scenes}, {i.name for i in shot.data.images}
    assert after[0] == before[0]
    assert {n for n in after[1] - before[1] if n != "Render Result"} == {"Wan Blur Map: Room"}


def test_list_has_a_picture_kind_area_and_score_in_order_of_rank(shot, part):
    shot.ops.wan.open_hygiene_view()
    settings = shot.context.window_manager.wan_matrix
    assert [item.rank for item in settings.sinks] == list(range(1, len(settings.sinks) + 1))
    shares = [item.share for item in settings.sinks]
    assert shares == sorted(shares, reverse=True)
    first = settings.sinks[0]
    assert first.name.lower() in part("hygiene.sinks").KINDS
    assert first.area > 200
    assert first.score > 10
    pictures = part("matrix_view.thumbnails")._pictures
    assert np.ptp(np.array(pictures["1"].image_pixels_float[:]).reshape(-1, 4)[:, 0]) > 0.5


def test_faces_are_looked_for_and_what_lies_on_one_is_gentle(shot, part):
    shot.ops.wan.open_hygiene_view()
    view, settings = part("matrix_view").view(), shot.context.window_manager.wan_matrix
    settle(view)
    assert view.questions.error is None
    assert view.faces == []  # there are none in this picture
    found = tuple(settings.sinks[0].box)
    faces = part("core.answers.hygiene").Faces((found,))
    view.questions.ask = lambda python, answer, take, *rest: take(faces)
    view.look_for_faces(None)
    assert settings.sinks[0].gentle
    assert not settings.sinks[0].treat


def test_gentle_sinks_are_treated_on_request_and_less(shot, part):
    shot.ops.wan.open_hygiene_view()
    view, settings = part("matrix_view").view(), shot.context.window_manager.wan_matrix
    radii = []
    for gentle in (False, True):
        settings.sinks[0].gentle = gentle
        settle(view)
        shot.ops.wan.treat_hygiene()
        settle(view)
        radii.append(settings.sinks[0].radius)
        shot.ops.wan.clear_hygiene()
    assert 0 < radii[1] < radii[0]


def test_without_an_engine_the_list_works_and_faces_stay_unknown(shot, part, monkeypatch):
    monkeypatch.setenv("WAN_ENGINE_PYTHON", "/nowhere/python")
    assert shot.ops.wan.open_hygiene_view() == {"FINISHED"}
    view = part("matrix_view").view()
    assert view.faces is None
    assert not view.busy
    assert len(shot.context.window_manager.wan_matrix.sinks) == 1


def test_frame_is_looked_at_at_the_size_the_model_sees(shot, part):
    scene = shot.context.scene
    scene.wan.region.pixels = W * H // 4
    shot.ops.wan.open_hygiene_view()
    view = part("matrix_view").view()
    assert view.size == (W // 2, H // 2)
    assert tuple(view.image.size) == view.size


def test_frequency_report_of_frame_and_treated_frame(shot, part):
    shot.ops.wan.open_hygiene_view()
    view = part("matrix_view").view()
    paint(view, slice(0, H), slice(0, W), 0.6)
    settle(view)
    assert shot.ops.wan.report_frequencies(treated=True) == {"FINISHED"}
    settle(view)
    assert view.questions.error is None
    assert view.report.second.bands[0] < 0.5 * view.report.first.bands[0]
    plot = shot.data.images[part("matrix_view").REPORT]
    assert plot.size[0] > 400
    assert plot.packed_file
    assert shot.ops.wan.show_picture(image=plot.name) == {"FINISHED"}


def test_frequency_report_with_a_file_that_is_no_picture_says_so(shot, part, tmp_path):
    shot.ops.wan.open_hygiene_view()
    view = part("matrix_view").view()
    settle(view)
    with pytest.raises(RuntimeError, match="no picture"):
        shot.ops.wan.report_frequencies(filepath=str(tmp_path / "gone.png"))
    (tmp_path / "text.png").write_text("no picture")
    shot.ops.wan.report_frequencies(filepath=str(tmp_path / "text.png"))
    settle(view)
    assert "text.png" in str(view.questions.error)
    assert view.questions.error.code == "UnsupportedClip"
    assert view.report is None


def test_treated_frame_is_saved_as_it_is_painted(shot, part, tmp_path):
    shot.ops.wan.open_hygiene_view()
    view = part("matrix_view").view()
    paint(view, slice(0, H), slice(0, W), 0.6)
    assert shot.ops.wan.save_treated_frame(filepath=str(tmp_path / "out")) == {"FINISHED"}
    image = shot.data.images.load(str(tmp_path / "out.png"))
    saved = np.array(image.pixels[:], np.float32).reshape(H, W, -1)[::-1, :, :3]
    settle(view)
    np.testing.assert_allclose(saved, view.treated, atol=0.5 / 255 + 1e-4)


def test_result_is_looked_at_over_the_clip_it_was_made_from(shot, part, tmp_path):
    strips = shot.context.scene.sequence_editor.strips
    pixels = np.zeros((H, W, 4), np.float32)
    pixels[:20, :30] = 1
    image = shot.data.images.new("patch", W, H, alpha=True)
    image.pixels.foreach_set(pixels.ravel())
    image.filepath_raw, image.file_format = str(tmp_path / "patch.png"), "PNG"
    image.save()
    result = strips.new_image("Result", str(tmp_path / "patch.png"), 2, 1)
    result[part("timeline.place").RECIPE] = json.dumps({"job": {"shot": {"strip": "Room"}}})
    shot.context.scene.sequence_editor.active_strip = result
    shot.ops.wan.open_hygiene_view()
    rgb = part("matrix_view").view().rgb
    assert rgb[-5, 5, 0] == pytest.approx(1, abs=0.01)
    assert rgb[20, 200, 0] == pytest.approx(0.5, abs=0.01)
    assert len(shot.context.window_manager.wan_matrix.sinks) >= 1  # the stripes below it


def test_soft_mode_without_a_map_is_refused_before_the_export(addon, scene, part, tmp_path):
    part("host.preferences").get().jobs = str(tmp_path / "jobs")
    scene.wan.hygiene.mode = "soft"
    with pytest.raises(RuntimeError, match="nothing is painted"):
        addon.ops.wan.generate(strip="plate")
    assert not list(tmp_path.glob("jobs/*"))
    assert part("host.state").host().session.engine is None


def test_followed_mask_is_exported_as_it_is_on_every_frame(addon, scene, part, tmp_path):
    mask = addon.data.masks["Square"].copy()
    mask.name, layer = "Mover", mask.layers[0]
    for frame, alpha in ((11, 0.2), (16, 0.7)):
        layer.alpha = alpha
        layer.keyframe_insert("alpha", frame=frame)
    for curve in part("timeline.compat").fcurves(mask.animation_data):
        for key in curve.keyframe_points:
            key.interpolation = "LINEAR"
    hygiene, plate = scene.wan.hygiene, scene.sequence_editor.strips_all["plate"]
    hygiene.mode, hygiene.matte = "soft", "Mover"
    part("host.blur_map").require_map(part("host.properties").read(scene), plate)
    request = part("host.properties").read_request(scene, plate)
    part("timeline.export").export(request, tmp_path)
    folder, read = tmp_path / part("core.job").BLUR_MATTE, part("timeline.png").read_gray16
    seen = [read(folder / part("core.job").frame_name(index))[24, 32] for index in range(6)]
    np.testing.assert_allclose(seen, np.linspace(0.2, 0.7, 6), atol=0.01)
    hygiene.mode = "scheduled"
    assert part("host.properties").read_request(scene, plate).blur_matte == ""


def test_compare_makes_two_takes_of_one_seed(addon, scene, part, stub_engine, tmp_path):
    part("host.preferences").get().jobs = str(tmp_path / "jobs")
    scene.wan.hygiene.mode = "scheduled"
    assert addon.ops.wan.compare_hygiene() == {"FINISHED"}
    read = part("core.job").read
    folders = sorted((tmp_path / "jobs").iterdir())
    jobs = [read(folder) for folder in folders]
    assert sorted(j.hygiene.mode for j in jobs) == ["off", "scheduled"]
    assert jobs[0].sampling.seed == jobs[1].sampling.seed
    assert scene.wan.hygiene.mode == "scheduled"
    names = {j.hygiene.mode: folder for folder, j in zip(folders, jobs)}
    marker = names["scheduled"] / part("core.job").COMPARE_WITH
    assert marker.read_text() == names["off"].name
    assert {local.name for local in part("host.state").host().session.jobs} == {
        "Wan [0]", "Wan [0 scheduled]",
    }  # fmt: skip


def test_compare_with_hygiene_off_says_why_not(addon, scene):
    with pytest.raises(RuntimeError, match="off"):
        addon.ops.wan.compare_hygiene()


def test_the_view_waits_for_a_deleted_clip_to_come_back(shot, part):
    open_settled(shot, part)
    strips = shot.context.scene.sequence_editor.strips
    strips.remove(room(shot))
    assert part("matrix_view").view().image is None
    follower = part("matrix_view.state").follower
    assert not follower.tick()
    assert (follower.running, follower.tick_s) == (True, 1.0)


def test_the_view_of_a_deleted_clip_does_not_stay_with_one_of_its_copies(shot, part, tmp_path):
    view = open_settled(shot, part)
    for number in (1, 2):
        copy = add_clip(shot, part, f"Room.00{number}", number + 3, tmp_path / "plate.png")
        copy[part("host.blur_map").MAP] = part("host.blur_map").find_map(room(shot))
    shot.context.scene.sequence_editor.strips.remove(room(shot))
    assert view.owner.name.startswith("Room.00")
    assert view._name == "Room"


def test_a_followed_matte_is_not_shown_at_the_size_of_another_view(shot, part, monkeypatch):
    add_matte(shot, "Everywhere", EVERYWHERE)
    scene = shot.context.scene
    scene.wan.hygiene.mode, scene.wan.hygiene.matte = "soft", "Everywhere"
    view = open_settled(shot, part)
    assert np.ndim(view.matte.radius(scene, room(shot), view.part)) == 2
    running = SimpleNamespace(app=SimpleNamespace(is_job_running=lambda kind: True))
    monkeypatch.setattr(part("matrix_view.matte"), "bpy", running)
    smaller = replace(view.part, size=(64, 48))
    assert np.ndim(view.matte.radius(scene, room(shot), smaller)) == 0
