# SPDX-License-Identifier: GPL-3.0-or-later
"""Shots that cannot be exported: one clear error each, nothing written, nothing changed."""

import re

import numpy as np
import pytest

from tests.blender import media
from wan_blender.core.errors import NothingSelected, SizeMismatch, UnsupportedClip
from wan_blender.timeline import compat, containers, sources
from wan_blender.timeline.export import export
from wan_blender.timeline.mattes import MatteChoice
from wan_blender.timeline.shot import ShotRequest, find_plate, read_shot


@pytest.fixture
def plate(timeline):
    strip = timeline.add_image(media.write_sequence(timeline.folder / "s", 4))
    timeline.add_mask(length=4)
    for other in timeline.strips:
        other.select = False
    return strip


def select(timeline, *strips):
    for strip in strips:
        strip.select = True
        timeline.scene.sequence_editor.active_strip = strip


def test_empty_timeline_is_refused(timeline):
    with pytest.raises(NothingSelected, match="'Scene' has no strips"):
        read_shot(timeline.scene)


def test_nothing_selected_is_refused(timeline, plate):
    with pytest.raises(NothingSelected, match="No strip is selected"):
        read_shot(timeline.scene)


def test_active_strip_is_the_plate(timeline, plate):
    other = timeline.add_effect("COLOR", channel=2)
    select(timeline, plate, other)
    assert find_plate(timeline.scene).name == other.name
    select(timeline, plate)
    assert read_shot(timeline.scene).strip == "plate"


def test_only_what_the_timeline_shows_counts_as_selected(timeline, plate):
    meta = timeline.strips.new_meta(name="meta", channel=3, frame_start=1)
    plate.move_to_meta(meta)
    plate.select, meta.select = True, False
    with pytest.raises(NothingSelected, match="No strip is selected"):
        find_plate(timeline.scene)
    timeline.scene.sequence_editor.display_stack(meta)
    meta.select = True
    assert find_plate(timeline.scene).name == "plate"


def test_selected_mask_strip_does_not_hide_the_plate(timeline, plate):
    select(timeline, plate, timeline.strips["matte"])
    assert find_plate(timeline.scene).name == "plate"


def test_only_a_mask_strip_selected_is_refused(timeline, plate):
    select(timeline, timeline.strips["matte"])
    with pytest.raises(UnsupportedClip, match="'matte' is a mask strip"):
        read_shot(timeline.scene)


def test_unknown_strip_name_lists_the_strips(timeline, plate):
    with pytest.raises(NothingSelected, match=r"no strip 'nope'.*plate"):
        read_shot(timeline.scene, "nope")


def test_sound_strip_is_refused(timeline, plate):
    path = media.write_tone(timeline.folder / "tone.wav")
    sound = timeline.strips.new_sound("tone", str(path), 3, 1)
    with pytest.raises(UnsupportedClip, match="'tone' is a sound strip"):
        read_shot(timeline.scene, sound)


def test_missing_media_is_refused_with_its_path(timeline, plate):
    gone = timeline.folder / "s" / "shot_0002.png"
    gone.unlink()
    with pytest.raises(UnsupportedClip, match=r"'plate' misses its media: .*shot_0002\.png"):
        read_shot(timeline.scene, plate)


def test_missing_media_inside_a_meta_strip_names_the_inner_strip(timeline, plate):
    meta = timeline.strips.new_meta("meta", 3, 1)
    path = media.write_png(timeline.folder / "inner.png", media.frame(0))
    meta.strips.new_image("inner", str(path), 1, 1)
    compat.set_length(meta, 4)
    path.unlink()
    with pytest.raises(UnsupportedClip, match=r"'inner' misses its media: .*inner\.png"):
        read_shot(timeline.scene, meta)


def test_scene_strip_without_a_camera_is_refused(timeline, bpy):
    other = bpy.data.scenes.new("Set")
    strip = timeline.strips.new_scene("view", other, 1, 1)
    with pytest.raises(UnsupportedClip, match=r"'view' shows scene 'Set', which has no camera"):
        sources.check(strip)
    compat.ensure_node_tree(other)
    sources.check(strip)  # nodes draw without one
    other.render.use_compositing = False
    with pytest.raises(UnsupportedClip, match="no camera"):
        sources.check(strip)
    strip.scene_camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    sources.check(strip)
    strip.scene_camera, camera = None, strip.scene_camera
    other.timeline_markers.new("cut", frame=1).camera = camera
    sources.check(strip)


@pytest.mark.parametrize("content", ["nothing", "a muted picture", "an empty meta strip", "sound"])
def test_strip_that_holds_no_picture_is_refused(timeline, bpy, plate, content):
    meta, other = timeline.strips.new_meta("meta", 3, 1), bpy.data.scenes.new("Other")
    inside = other.sequence_editor_create()
    view = timeline.strips.new_scene("view", other, 4, 1)
    view.scene_input = "SEQUENCER"
    for strips in (meta.strips, inside.strips):
        if content == "a muted picture":
            compat.new_effect(strips, "color", "COLOR", 1, 1, 4).mute = True
        elif content == "an empty meta strip":
            strips.new_meta("inner", 1, 1)
        elif content == "sound":
            strips.new_sound("tone", str(media.write_tone(timeline.folder / "tone.wav")), 1, 1)
    for strip in (meta, view):
        with pytest.raises(UnsupportedClip, match=r"strip without a picture in it\. Select"):
            sources.check(strip)
    compat.new_effect(meta.strips, "color", "COLOR", 2, 1, 4)
    sources.check(meta)


@pytest.mark.parametrize("content", [b"", b"not a picture" * 99])
def test_movie_that_cannot_be_read_is_refused_with_its_path(timeline, bpy, content):
    path = media.encode(
        bpy, media.write_sequence(timeline.folder / "s", 4), timeline.folder / "clip.mkv"
    )
    movie = timeline.strips.new_movie("movie", str(path), 1, 1)
    timeline.add_mask(length=4)
    path.write_bytes(content)
    with pytest.raises(UnsupportedClip, match=r"'movie' shows a file.*cannot read: .*clip\.mkv"):
        timeline.export(movie)
    assert list((timeline.folder / "job").iterdir()) == []


@pytest.mark.parametrize("codec", ["FFV1", "H264"])
def test_movie_cut_short_is_refused_where_it_is_shown(timeline, bpy, codec):
    frames = media.write_sequence(timeline.folder / "s", 12)
    path = media.encode(bpy, frames, timeline.folder / "clip.mkv", codec)
    whole = path.read_bytes()
    assert containers.stated_size(str(path)) == len(whole)
    path.write_bytes(whole[: 2 * len(whole) // 3])
    movie = timeline.strips.new_movie("movie", str(path), 1, 1)
    timeline.add_mask(length=12)
    with pytest.raises(UnsupportedClip, match=r"'movie' lacks \d of 12 frames: .*clip") as caught:
        timeline.export(movie)
    assert list((timeline.folder / "job").iterdir()) == []
    lacking = int(re.search(r"lacks (\d)", caught.value.message)[1])
    compat.trim(movie, 0, lacking)
    shot, _, _ = timeline.export(movie)
    assert shot.frame_count == 12 - lacking


def test_clip_that_holds_still_is_not_taken_for_cut(timeline, bpy):
    frames = media.write_sequence(timeline.folder / "s", 4)
    for file in frames[1:]:
        file.write_bytes(frames[0].read_bytes())
    path = media.encode(bpy, frames, timeline.folder / "clip.mkv")
    movie = timeline.strips.new_movie("movie", str(path), 1, 1)
    timeline.add_mask(length=4)
    shot, _, _ = timeline.export(movie)
    assert shot.frame_count == 4


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (b"\0\0\0\x10ftypisom....\0\0\0\x40moov", 16 + 64),
        (b"\0\0\0\x10ftypisom....\0\0\0\1mdat\0\0\0\1\0\0\0\0", 16 + (1 << 32)),
        (b"\0\0\0\x10ftypisom....\0\0\0\0mdat....", 0),  # its last box ends with the file
        (b"RIFF\x00\x01\0\0AVI LIST", 8 + 256),
        (b"\x1aE\xdf\xa3\x82..\x18S\x80g\x40\x80", 13 + 128),
        (b"\x1aE\xdf\xa3\x82..\x18S\x80g\x01" + 7 * b"\xff", 0),  # a recording, size unknown
        (b"\x1aE\xdf\xa3", 0),
        (b"OggS", 0),
        (b"", 0),
    ],
)
def test_size_that_a_movie_states(tmp_path, content, size):
    path = tmp_path / "movie"
    path.write_bytes(content)
    assert containers.stated_size(str(path)) == size


def test_image_that_cannot_be_read_is_refused_where_it_is_shown(timeline, plate):
    (timeline.folder / "s" / "shot_0002.png").write_bytes(b"not a picture")
    with pytest.raises(UnsupportedClip, match=r"'plate' shows a file.*shot_0002\.png"):
        timeline.export(plate)
    compat.trim(plate, 0, 2)
    shot, _, _ = timeline.export(plate)
    assert shot.frame_count == 2


def test_each_image_shown_is_read_once(timeline, monkeypatch):
    strip = timeline.add_image(media.write_sequence(timeline.folder / "s", 20))
    compat.set_start(strip, 10)
    compat.trim(strip, -2, 16)
    read = []
    monkeypatch.setattr(sources, "_is_readable", lambda path: read.append(path[-8:]) or True)
    sources.check_readable(strip, range(0, 99))
    assert read == ["0000.png", "0001.png", "0002.png", "0003.png"]
    setattr(strip, "content_trim_start" if compat.NEW_TIMES else "animation_offset_start", 1)
    read.clear()
    first = round(compat.content_start(strip))
    sources.check_readable(strip, range(first + 1, first + 3))
    assert read == ["0002.png", "0003.png"]


def test_picture_matte_that_cannot_be_read_is_refused(timeline, plate):
    path = media.write_png(timeline.folder / "matte.png", media.frame(1))
    matte = timeline.strips.new_image("picture", str(path), 7, 1)
    compat.set_length(matte, 4)
    path.write_bytes(b"")
    with pytest.raises(UnsupportedClip, match=r"'picture' shows a file.*matte\.png"):
        timeline.export(plate, [MatteChoice("strip:picture")])


def test_picture_of_several_layers_is_not_refused(timeline, bpy):
    """The sequencer shows an OpenEXR file with layers, which Python cannot open."""
    other = bpy.data.scenes.new("Layers")
    other.render.engine, other.cycles.samples = "CYCLES", 1
    other.render.resolution_x, other.render.resolution_y = 64, 48
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    other.collection.objects.link(camera)
    other.camera = camera
    settings = other.render.image_settings
    if "media_type" in settings.bl_rna.properties:
        settings.media_type = "MULTI_LAYER_IMAGE"
    settings.file_format = "OPEN_EXR_MULTILAYER"
    path = timeline.folder / "layers.exr"
    other.render.filepath = str(path)
    bpy.ops.render.render(write_still=True, scene=other.name)
    strip = timeline.strips.new_image("layers", str(path), 1, 1)
    sources.check_readable(strip, range(1, 2))


def test_adjustment_layer_is_refused(timeline, plate):
    layer = timeline.add_effect("ADJUSTMENT", channel=3)
    with pytest.raises(UnsupportedClip, match="is an adjustment layer strip and has"):
        read_shot(timeline.scene, layer)


@pytest.mark.parametrize("hidden", [(1, 0), (1, 1)])
def test_strip_without_frames_is_refused(timeline, plate, hidden):
    path = media.write_png(timeline.folder / "still.png", media.frame(0))
    still = timeline.add_image([path], channel=2)
    compat.trim(still, *hidden)
    assert compat.length(still) < 1
    with pytest.raises(UnsupportedClip, match=r"has no frames\. Make it longer"):
        read_shot(timeline.scene, still)


def test_tiny_canvas_is_refused_with_its_size(timeline, plate):
    timeline.scene.render.resolution_x, timeline.scene.render.resolution_y = 64, 15
    with pytest.raises(SizeMismatch, match="64 x 15 px"):
        read_shot(timeline.scene, plate)


def test_frames_before_zero_are_refused(timeline):
    path = media.write_png(timeline.folder / "p.png", media.frame(0))
    early = timeline.add_image([path], first=-3, length=6)
    timeline.add_mask(first=-3, length=6)
    with pytest.raises(UnsupportedClip, match=r"frame -3.*Move"):
        read_shot(timeline.scene, early)


def test_request_survives_json(timeline, plate):
    import json

    request = read_shot(timeline.scene, plate)
    assert ShotRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request


def test_strip_that_is_gone_is_refused_at_export(timeline, plate):
    request = read_shot(timeline.scene, plate)
    timeline.strips.remove(plate)
    with pytest.raises(NothingSelected, match="no strip 'plate'"):
        export(request, timeline.folder / "job")


def test_file_in_the_way_of_the_folder_is_refused(timeline, plate):
    from wan_blender.core.errors import UserError

    request = read_shot(timeline.scene, plate)
    (timeline.folder / "job").write_text("")
    with pytest.raises(UserError, match="exporting the shot"):
        export(request, timeline.folder / "job")


def test_export_again_replaces_what_a_killed_one_left(timeline, plate):
    stale = timeline.folder / "job" / "plate" / "000009.png"
    media.write_png(stale, np.zeros((48, 64, 3), np.uint8))
    shot, plates, _ = timeline.export(plate)
    assert shot.frame_count == len(plates) == 4


def test_file_that_is_trimmed_away_may_be_missing(timeline):
    paths = media.write_sequence(timeline.folder / "s", 6)
    strip = timeline.add_image(paths)
    timeline.add_mask(length=6)
    paths[0].unlink()
    with pytest.raises(UnsupportedClip, match=r"misses its media.*shot_0000"):
        timeline.export(strip)
    compat.trim(strip, 1, 0)
    assert len(timeline.export(strip)[1]) == 5


def test_file_that_is_trimmed_away_may_be_missing_backwards(timeline):
    paths = media.write_sequence(timeline.folder / "s", 6)
    strip = timeline.add_image(paths)
    strip.use_reverse_frames = True
    timeline.add_mask(length=6)
    compat.trim(strip, 1, 0)
    paths[5].unlink()  # the first that is shown, and the one that is trimmed away
    plate = timeline.export(strip)[1]
    np.testing.assert_array_equal(plate[0], media.frame(4))
    paths[4].unlink()
    with pytest.raises(UnsupportedClip, match="shot_0004"):
        timeline.export(strip)


@pytest.mark.parametrize("hide", ["channel", "strip", "time"])
def test_file_that_nobody_sees_in_a_meta_strip_may_be_missing(timeline, hide):
    there = timeline.add_image(media.write_sequence(timeline.folder / "s", 6), channel=1)
    gone = timeline.add_image(media.write_sequence(timeline.folder / "gone", 6), channel=2)
    meta = timeline.strips.new_meta("meta", 3, 1)
    there.move_to_meta(meta)
    gone.move_to_meta(meta)
    compat.measure_content(meta)
    compat.set_frames(meta, range(1, 7))
    timeline.add_mask(length=6)
    for path in (timeline.folder / "gone").iterdir():
        path.unlink()
    with pytest.raises(UnsupportedClip, match="gone"):
        timeline.export(meta)
    if hide == "channel":
        meta.channels[gone.channel].mute = True
    elif hide == "strip":
        gone.mute = True
    else:
        compat.set_start(gone, 4)
        compat.set_frames(meta, range(1, 4))
    plate = timeline.export(meta)[1]
    np.testing.assert_array_equal(plate[0][..., :3], media.frame(0))


def test_file_that_a_retimed_strip_does_not_show_may_be_missing(timeline, bpy):
    paths = media.write_sequence(timeline.folder / "s", 8)
    strip = timeline.add_image(paths)
    strip.select, timeline.scene.sequence_editor.active_strip = True, strip
    with timeline.editor_area("SEQUENCE_EDITOR"):
        bpy.ops.sequencer.retiming_segment_speed_set(speed=200.0)
    shown = [strip.strip_elem_from_frame(frame).filename for frame in compat.frames(strip)]
    hidden = next(path for path in paths if path.name not in shown)
    hidden.unlink()
    timeline.add_mask(length=8)
    assert len(timeline.export(strip)[1]) == len(shown)
    (timeline.folder / "s" / shown[-1]).unlink()
    with pytest.raises(UnsupportedClip, match=rf"misses its media.*{shown[-1]}"):
        timeline.export(strip)
