# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of strip is exported as Blender's own render shows that strip alone."""

import numpy as np
import pytest

from tests.blender import media
from wan_blender.timeline import compat
from wan_blender.timeline.mattes import MatteChoice


@pytest.fixture
def clip(timeline, bpy):
    """A lossless clip of 8 frames; frame i is ``media.frame(i)``."""
    frames = media.write_sequence(timeline.folder / "s", 8)
    return media.encode(bpy, frames, timeline.folder / "clip.mkv")


def movie(timeline, path, first=1):
    return timeline.strips.new_movie("plate", str(path), 1, first)


def trim(strip, start, end):
    """Cut frames off both ends."""
    if compat.NEW_TIMES:
        strip.left_handle_offset, strip.right_handle_offset = start, end
    else:
        strip.frame_offset_start, strip.frame_offset_end = start, end


def assert_as_rendered(timeline, strip, samples, bits=8, within=0):
    """Export equals the plain render, ``within`` steps; ``samples`` 4 means that it keeps alpha.
    The plate."""
    timeline.add_mask(first=compat.start(strip), length=compat.length(strip), channel=9)
    shot, plate, _ = timeline.export(strip)
    assert (shot.bit_depth, plate[0].shape) == (bits, (48, 64, samples))
    wanted = timeline.render(strip, bits, "RGBA" if samples == 4 else "RGB")
    for got, want in zip(plate, wanted, strict=True):
        assert abs(got.astype(int) - want).max() <= within
    return plate


def test_trimmed_clip_starts_at_its_first_shown_frame(timeline, clip):
    strip = movie(timeline, clip, first=101)
    trim(strip, 2, 3)
    timeline.add_mask(first=100, length=20)
    shot, plate, _ = timeline.export(strip)
    assert (shot.frame_start, shot.frame_count) == (103, 3)
    for index, frame in enumerate(plate):
        np.testing.assert_array_equal(frame, media.frame(index + 2))


def test_clip_in_front_of_its_first_frame_holds_it(timeline, clip):
    strip = movie(timeline, clip, first=10)
    trim(strip, -2, 0)
    timeline.add_mask(first=1, length=30)
    shot, plate, _ = timeline.export(strip)
    assert (shot.frame_start, shot.frame_count) == (8, 10)
    for frame in plate[:3]:
        np.testing.assert_array_equal(frame, media.frame(0))
    np.testing.assert_array_equal(plate[-1], media.frame(7))


def test_clip_at_double_speed_skips_frames(timeline, bpy, clip):
    strip = movie(timeline, clip)
    if compat.NEW_TIMES:
        strip.retiming_keys.add(timeline_frame=1)
        strip.retiming_keys.add(timeline_frame=9)
        strip.retiming_keys[-1].timeline_frame = 5
    else:
        strip.select, timeline.scene.sequence_editor.active_strip = True, strip
        with timeline.editor_area("SEQUENCE_EDITOR"):
            bpy.ops.sequencer.retiming_segment_speed_set(speed=200.0)
    plate = assert_as_rendered(timeline, strip, 3)
    assert len(plate) in (4, 5)  # 4.5 keeps one more frame at the end
    np.testing.assert_array_equal(plate[1], media.frame(2))


def test_movie_clip_strip_is_exported_as_decoded(timeline, bpy, clip):
    strip = timeline.strips.new_clip("plate", bpy.data.movieclips.load(str(clip)), 1, 1)
    plate = assert_as_rendered(timeline, strip, 4)
    np.testing.assert_array_equal(plate[3][..., :3], media.frame(3))


def test_meta_strip_shows_its_content(timeline):
    meta = timeline.strips.new_meta("plate", 1, 1)
    paths = media.write_sequence(timeline.folder / "s", 4)
    meta.strips.new_image("inside", str(paths[0]), 1, 1)
    compat.set_length(meta, 4)
    plate = assert_as_rendered(timeline, meta, 4)
    np.testing.assert_array_equal(plate[2][..., :3], media.frame(0))


def test_strip_inside_a_meta_strip_is_exported_alone(timeline):
    paths = media.write_sequence(timeline.folder / "s", 4)
    meta = timeline.strips.new_meta("meta", 1, 1)
    inside = meta.strips.new_image("plate", str(paths[0]), 1, 1)
    over = compat.new_effect(meta.strips, "over", "COLOR", 2, 1, 4)
    mask = meta.strips.new_mask("matte", timeline.make_mask(), 3, 1)
    for strip in (inside, over, mask, meta):
        compat.set_length(strip, 4)
    meta.transform.scale_x = 0.5
    shot, plate, masks = timeline.export(inside)
    assert (shot.frame_count, len(plate)) == (4, 4)
    np.testing.assert_array_equal(plate[1][..., :3], media.frame(0))
    assert masks[1].min() == 1


def test_colour_strip_is_exported_with_its_colour(timeline):
    strip = timeline.add_effect("COLOR")
    strip.color = (51 / 255, 102 / 255, 204 / 255)
    plate = assert_as_rendered(timeline, strip, 4)
    np.testing.assert_array_equal(plate[0][10, 10], (51, 102, 204, 255))


@pytest.mark.own_process
def test_text_strip_leaves_alpha(timeline):
    strip = timeline.add_effect("TEXT")
    strip.text, strip.font_size = "Wan", 30
    plate = assert_as_rendered(timeline, strip, 4)
    alpha = plate[0][..., 3]
    assert alpha.min() == 0
    assert alpha.max() == 255
    assert (plate[0][alpha == 255][:, :3] == 255).all()  # white stays white: straight alpha


def test_scene_strip_shows_the_other_timeline(timeline, bpy):
    other = bpy.data.scenes.new("Other")
    other.render.resolution_x, other.render.resolution_y = 64, 48
    path = media.write_png(timeline.folder / "inner.png", media.frame(3))
    other.sequence_editor_create().strips.new_image("inner", str(path), 1, 1)
    other.frame_start, other.frame_end = 1, 4
    strip = timeline.strips.new_scene("plate", other, 1, 1)
    strip.scene_input = "SEQUENCER"
    compat.set_length(strip, 1)
    plate = assert_as_rendered(timeline, strip, 4)
    np.testing.assert_array_equal(plate[0][..., :3], media.frame(3))


def test_scene_strip_with_a_camera_is_sixteen_bits_deep(timeline, bpy):
    other = bpy.data.scenes.new("Other")
    other.render.engine = "CYCLES"
    other.cycles.samples = 1
    other.render.resolution_x, other.render.resolution_y = 64, 48
    other.world = bpy.data.worlds.new("Grey")
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    other.collection.objects.link(camera)
    other.camera = camera
    other.frame_start, other.frame_end = 1, 2
    strip = timeline.strips.new_scene("plate", other, 1, 1)
    # It could be brighter than white, so it is rendered as floats and rounded by us.
    plate = assert_as_rendered(timeline, strip, 4, bits=16, within=1)
    assert plate[0][..., :3].max() > 0


def test_transformed_clip_leaves_alpha(timeline, clip):
    strip = movie(timeline, clip)
    strip.transform.scale_x = strip.transform.scale_y = 0.5
    strip.transform.offset_x, strip.transform.rotation = 7, 0.3
    plate = assert_as_rendered(timeline, strip, 4)
    assert plate[0][0, 0, 3] == 0
    assert plate[0][24, 39, 3] == 255


def test_cropped_clip_leaves_alpha(timeline, clip):
    strip = movie(timeline, clip)
    strip.crop.min_x = 16
    plate = assert_as_rendered(timeline, strip, 4)
    np.testing.assert_array_equal(plate[2][:, 16:, :3], media.frame(2)[:, 16:])
    assert plate[2][:, :16, 3].max() == 0


def test_image_with_alpha_keeps_straight_colours(timeline):
    picture = np.dstack([media.frame(1), np.full((48, 64), 128, np.uint8)])
    strip = timeline.add_image([media.write_png(timeline.folder / "a.png", picture)])
    plate = assert_as_rendered(timeline, strip, 4)
    assert abs(plate[0].astype(int) - picture).max() <= 1


def test_clip_is_exported_with_its_modifiers_where_they_stay_on_it(timeline, clip):
    strip = movie(timeline, clip)
    modifier = strip.modifiers.new("brighter", "BRIGHT_CONTRAST")
    modifier.bright = 30
    timeline.add_mask(first=1, length=8, channel=9)
    plain = timeline.export(strip)[1]
    above = timeline.export(strip, place="above")[1]
    np.testing.assert_array_equal(plain[0], media.frame(0))
    wanted = timeline.render(strip, 8, "RGBA")
    np.testing.assert_array_equal(above[0], wanted[0])
    assert (above[0][..., :3] != media.frame(0)).any()


def test_keyframed_transform_moves_the_plate(timeline, clip):
    strip = movie(timeline, clip)
    for frame, offset in ((1, 0), (8, 14)):
        strip.transform.offset_x = offset
        strip.transform.keyframe_insert("offset_x", frame=frame)
    plate = assert_as_rendered(timeline, strip, 4)
    np.testing.assert_array_equal(plate[7][:, 14:, :3], media.frame(7)[:, :-14])


def test_opacity_is_no_part_of_the_plate(timeline, clip):
    strip = movie(timeline, clip)
    for frame, opacity in ((1, 1.0), (8, 0.0)):
        strip.blend_alpha = opacity
        strip.keyframe_insert("blend_alpha", frame=frame)
    timeline.add_mask(first=1, length=8, channel=9)
    _, plate, _ = timeline.export(strip)
    for index, frame in enumerate(plate):
        np.testing.assert_array_equal(frame, media.frame(index))


def test_muted_plate_is_exported_and_stays_muted(timeline, clip):
    strip = movie(timeline, clip)
    strip.mute = True
    timeline.add_mask(length=8)
    _, plate, _ = timeline.export(strip)
    np.testing.assert_array_equal(plate[5], media.frame(5))


def test_other_strips_and_settings_do_not_show(timeline, clip):
    strip = movie(timeline, clip)
    timeline.add_effect("COLOR", channel=4, length=8).color = (1, 0, 0)
    timeline.add_mask(length=8)
    scene = timeline.scene
    scene.view_settings.view_transform, scene.view_settings.exposure = "AgX", 2.0
    scene.render.use_border = scene.render.use_crop_to_border = scene.render.use_stamp = True
    scene.render.border_max_x = 0.5
    scene.frame_step = 3
    scene.sequence_editor.channels[1].mute = True
    _, plate, _ = timeline.export(strip)
    for index, frame in enumerate(plate):
        np.testing.assert_array_equal(frame, media.frame(index))


@pytest.mark.parametrize("space", ["Linear Rec.709", "AgX Base sRGB", "Filmic sRGB", "Rec.1886"])
def test_plate_is_the_same_in_every_colour_space_of_the_timeline(timeline, clip, space):
    strip = movie(timeline, clip)
    timeline.add_mask(length=8)
    timeline.scene.sequencer_colorspace_settings.name = space
    _, plate, _ = timeline.export(strip)
    for index, frame in enumerate(plate):
        np.testing.assert_array_equal(frame, media.frame(index))
    assert timeline.scene.sequencer_colorspace_settings.name == space


def test_one_frame_at_film_rate_in_a_spaced_folder(timeline, bpy):
    folder = timeline.folder / "Müller & Söhne {shot} #1 東京"
    timeline.folder = folder
    strip = timeline.add_image([media.write_png(folder / "ein bild.png", media.frame(1))])
    timeline.add_mask(length=1)
    timeline.scene.render.fps, timeline.scene.render.fps_base = 24, 1.001
    shot, plate, mask = timeline.export(strip)
    assert (shot.fps_num, shot.fps_den, shot.frame_count) == (24000, 1001, 1)
    np.testing.assert_array_equal(plate[0], media.frame(1))
    assert mask[0].min() == 1


def test_half_resolution_render_gives_half_size_frames(timeline, clip):
    strip = movie(timeline, clip)
    timeline.add_mask(length=8)
    timeline.scene.render.resolution_percentage = 50
    shot, plate, mask = timeline.export(strip)
    assert (shot.width, shot.height) == (32, 24)
    assert (plate[0].shape[:2], mask[0].shape) == ((24, 32), (24, 32))


@pytest.mark.parametrize("odd", range(6))
def test_one_picture_with_alpha_among_others_keeps_it(timeline, odd):
    paths = media.write_sequence(timeline.folder / "s", 6)
    alpha = np.tile(np.arange(0, 256, 4, np.uint8), (48, 1))
    media.write_png(paths[odd], np.dstack([media.frame(odd), alpha]))
    strip = timeline.add_image(paths)
    timeline.add_mask(channel=9, length=6)
    shot, plate, _ = timeline.export(strip)
    assert plate[odd].shape[2] == 4
    np.testing.assert_array_equal(plate[odd][..., 3], alpha)
    empty = timeline.export(strip, [MatteChoice("empty")])[2]
    np.testing.assert_allclose(empty[odd], 1 - alpha / 255, atol=1e-4)
    assert shot.alpha == "replace"


@pytest.mark.parametrize("odd", range(6))
def test_one_deep_picture_among_others_makes_the_plate_deep(timeline, odd):
    paths = media.write_sequence(timeline.folder / "s", 6)
    media.write_png(paths[odd], media.frame(odd, bits=16))
    strip = timeline.add_image(paths)
    timeline.add_mask(channel=9, length=6)
    shot, plate, _ = timeline.export(strip)
    assert shot.bit_depth == 16
    # Blender rounds 16 bits once on their way through its float picture.
    assert abs(plate[odd].astype(int) - media.frame(odd, bits=16)).max() <= 1
