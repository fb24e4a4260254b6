# SPDX-License-Identifier: GPL-3.0-or-later
"""Results on the timeline and in the compositor: where, exactly, and never in the wrong scene."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from tests.blender import media
from wan_blender.core.errors import BadRequest
from wan_blender.timeline import compat
from wan_blender.timeline.compositor import find_in_compositor, place_in_compositor
from wan_blender.timeline.place import Placement, find_place, place
from wan_blender.timeline.shot import read_shot
from wan_blender.timeline.takes import read_recipe

COUNT = 4


@pytest.fixture
def shot(timeline):
    """(plate strip, placement, result folder): the patch is red in its right half only."""
    plate = timeline.add_image(media.write_sequence(timeline.folder / "s", COUNT), 2, first=11)
    timeline.add_mask(channel=3, first=11, length=COUNT).mute = True
    placement = Placement.of(timeline.scene, read_shot(timeline.scene, plate))
    result = timeline.folder / "job" / "result"
    write_patch(result)
    return plate, placement, result


def write_patch(result, dtype=np.uint8):
    full = np.iinfo(dtype).max
    for index in range(COUNT):
        patch = np.zeros((48, 64, 4), dtype)
        patch[..., 0] = full - 10 * index
        patch[:, 32:, 3] = full
        media.write_png(result / "patch" / f"{index:06d}.png", patch)


def render(timeline, first=11, count=COUNT):
    """The timeline's frames as Blender renders them."""
    scene = timeline.scene
    scene.view_settings.view_transform, scene.render.dither_intensity = "Standard", 0
    compat.write_images(scene)
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGB", "8"
    scene.frame_start, scene.frame_end = first, first + count - 1
    scene.render.filepath = str(timeline.folder / "render" / "######.png")
    timeline.bpy.ops.render.render(animation=True)
    paths = [timeline.folder / "render" / f"{first + i:06d}.png" for i in range(count)]
    return [media.read_png(path) for path in paths]


def test_result_lies_on_the_first_free_channel_on_the_plates_frames(timeline, shot):
    _, placement, result = shot
    compat.new_effect(timeline.strips, "touches", "COLOR", 4, 14, 2)
    compat.new_effect(timeline.strips, "after", "COLOR", 5, 15, 9).mute = True
    strip = place(timeline.scene, placement, result, "a cat [7]", {})
    assert (strip.name, strip.channel) == ("a cat [7]", 5)
    assert (compat.start(strip), compat.length(strip)) == (11, COUNT)


def test_channels_that_would_hide_the_result_or_are_locked_are_left_alone(timeline, shot):
    plate, placement, result = shot
    channels = timeline.scene.sequence_editor.channels
    channels[4].mute = channels[5].lock = True
    assert place(timeline.scene, placement, result, "x", {}).channel == 6
    meta = timeline.strips.new_meta("meta", 9, 1)
    plate.move_to_meta(meta)
    meta.channels[3].mute = True
    assert place(timeline.scene, placement, result, "y", {}).channel == 4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_plate_shows_bit_for_bit_where_alpha_is_zero(timeline, shot, dtype):
    _, placement, result = shot
    write_patch(result, dtype)
    place(timeline.scene, placement, result, "patch", {})
    for index, frame in enumerate(render(timeline)):
        np.testing.assert_array_equal(frame[:, :32], media.frame(index)[:, :32])
        red = 255 - 10 * index if dtype == np.uint8 else 255
        assert (frame[:, 32:] == (red, 0, 0)).all()


def test_blender_learns_the_size_when_it_draws(timeline, shot):
    strip = place(timeline.scene, shot[1], shot[2], "a cat", {})
    assert not any(element.filename.count("/") for element in strip.elements)
    render(timeline)
    assert {(e.orig_width, e.orig_height) for e in strip.elements} == {(64, 48)}


def test_selection_and_active_strip_stay(timeline, shot):
    plate, placement, result = shot
    editor = timeline.scene.sequence_editor
    for active in (plate, None):
        editor.active_strip, plate.select = active, True
        strip = place(timeline.scene, placement, result, "x", {})
        assert (editor.active_strip, plate.select, strip.select) == (active, True, False)


def test_result_lands_in_its_scene_while_another_is_open(timeline, shot, bpy):
    other = bpy.data.scenes.new("other")
    other.sequence_editor_create()
    bystander = compat.new_effect(other.sequence_editor.strips, "b", "COLOR", 1, 1, 4)
    other.sequence_editor.active_strip = bystander
    with bpy.context.temp_override(**compat.sequencer_context(other)):
        strip = place(timeline.scene, shot[1], shot[2], "x", {})
    assert strip.name in timeline.strips
    assert [element.filename for element in strip.elements] == [f"{i:06d}.png" for i in range(4)]
    assert other.sequence_editor.strips[:] == [bystander]


def test_one_frame_result_lasts_one_frame(timeline):
    plate = timeline.add_image(media.write_sequence(timeline.folder / "s", 1), 2, first=5)
    timeline.add_mask(channel=3, first=5, length=1)
    placement = Placement.of(timeline.scene, read_shot(timeline.scene, plate))
    write_patch(timeline.folder / "result")
    strip = place(timeline.scene, placement, timeline.folder / "result", "one", {})
    assert (compat.start(strip), compat.length(strip)) == (5, 1)


def test_recipe_can_be_read_back(timeline, shot):
    plate, placement, result = shot
    recipe = {"seed": 2**31, "prompt": "ein Bär", "sigmas": [1.0, 0.5], "none": None}
    assert read_recipe(place(timeline.scene, placement, result, "x", recipe)) == recipe
    assert read_recipe(plate) is None


@pytest.mark.parametrize("text", ["{broken", "[1]", '"text"', 7])
def test_recipe_damaged_by_hand_is_none(shot, text):
    plate = shot[0]
    plate["wan_recipe"] = text
    assert read_recipe(plate) is None


def test_plate_that_moved_meanwhile_is_followed(timeline, shot):
    plate, placement, result = shot
    compat.set_start(plate, 31)
    plate.channel = 6
    strip = place(timeline.scene, placement, result, "x", {})
    assert (compat.start(strip), strip.channel) == (31, 7)


def test_plate_inside_a_meta_strip_gets_its_result_inside(timeline, shot):
    plate, placement, result = shot
    meta = timeline.strips.new_meta("meta", 9, 1)
    plate.move_to_meta(meta)
    strip = place(timeline.scene, placement, result, "x", {})
    assert strip.parent_meta() == meta
    assert compat.start(strip) == compat.start(plate)


def test_full_timeline_is_refused(timeline, shot):
    _, placement, result = shot
    for channel in range(3, 129):
        compat.new_effect(timeline.strips, "full", "COLOR", channel, 12, 1)
    before = len(timeline.strips)
    with pytest.raises(BadRequest, match=r"channels from 2 to 128.*frames 11 and 14"):
        place(timeline.scene, placement, result, "x", {})
    assert len(timeline.strips) == before


def test_missing_result_frames_are_refused(timeline, shot):
    _, placement, result = shot
    (result / "patch" / "000002.png").unlink()
    with pytest.raises(BadRequest, match=r"1 of 4 result frames.*000002\.png"):
        place(timeline.scene, placement, result, "x", {})


def test_place_is_found_after_renaming_the_scene(timeline, shot):
    _, placement, _ = shot
    timeline.scene.name = "Renamed"
    assert find_place(placement) == timeline.scene


def test_place_is_gone_with_the_plate(timeline, shot):
    plate, placement, _ = shot
    timeline.strips.remove(plate)
    assert find_place(placement) is None


def test_place_is_gone_with_the_scene(timeline, shot, bpy):
    _, placement, _ = shot
    bpy.data.scenes.new("Other").sequence_editor_create()
    bpy.data.scenes.remove(timeline.scene)
    assert find_place(placement) is None


def test_same_names_in_another_file_are_not_the_place(timeline, shot, bpy):
    _, placement, _ = shot
    bpy.ops.wm.save_as_mainfile(filepath=str(timeline.folder / "a.blend"))
    bpy.ops.wm.save_as_mainfile(filepath=str(timeline.folder / "b.blend"))
    saved = Placement(**{**asdict(placement), "blend": str(timeline.folder / "a.blend")})
    bpy.ops.wm.open_mainfile(filepath=str(timeline.folder / "b.blend"))
    assert find_place(saved) is None
    bpy.ops.wm.open_mainfile(filepath=str(timeline.folder / "a.blend"))
    assert find_place(saved) == bpy.context.scene


def test_unsaved_file_is_found_again_after_saving_it(timeline, shot, bpy):
    _, placement, _ = shot
    bpy.ops.wm.save_as_mainfile(filepath=str(timeline.folder / "a.blend"))
    assert find_place(placement) == bpy.context.scene


def test_scene_number_of_another_session_means_nothing(timeline, shot):
    _, placement, _ = shot
    other = Placement(**{**asdict(placement), "session": "another"})
    assert find_place(other) is None


def test_place_survives_undo(timeline, shot, bpy):
    _, placement, result = shot
    bpy.ops.ed.undo_push(message="before")
    place(timeline.scene, placement, result, "x", {})
    bpy.ops.ed.undo_push(message="placed")
    bpy.ops.ed.undo()
    scene = find_place(placement)
    assert scene is not None
    assert "x" not in scene.sequence_editor.strips
    bpy.ops.ed.redo()
    assert "x" in find_place(placement).sequence_editor.strips


def test_placement_survives_json(shot):
    placement = shot[1]
    assert Placement(**json.loads(json.dumps(asdict(placement)))) == placement


def nodes_scene(timeline, bpy):
    """The scene with a camera that sees a grey world, rendered without its timeline."""
    scene = timeline.scene
    scene.render.engine, scene.cycles.samples = "CYCLES", 1
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.world = bpy.data.worlds.new("Grey")
    scene.render.use_sequencer = False
    return scene


def test_compositor_shows_the_patch_on_its_frames_only(timeline, shot, bpy):
    _, placement, result = shot
    scene = nodes_scene(timeline, bpy)
    place_in_compositor(scene, placement, result, "a cat [7]")
    frames = render(timeline, first=10, count=COUNT + 2)
    grey = frames[0][24, 10]
    for index, frame in enumerate(frames):
        wanted = (255 - 10 * (index - 1), 0, 0) if 1 <= index <= COUNT else grey
        assert abs(frame[24, 50].astype(int) - wanted).max() <= 1, index
        assert abs(frame[24, 10].astype(int) - grey).max() <= 1, index


def test_compositor_keeps_what_was_linked(timeline, shot, bpy):
    _, placement, result = shot
    tree = compat.ensure_node_tree(timeline.scene)
    blur = tree.nodes.new("CompositorNodeBlur")
    tree.links.new(blur.outputs[0], compat.output_socket(tree))
    node = place_in_compositor(timeline.scene, placement, result, "x")
    over = node.outputs["Image"].links[0].to_node
    background, _, _ = compat.alpha_over_sockets(over)
    assert background.links[0].from_node == blur
    assert compat.output_socket(tree).links[0].from_node == over


def test_compositor_takes_a_result_once(timeline, shot):
    _, placement, result = shot
    assert find_in_compositor(timeline.scene, result) is None
    first = place_in_compositor(timeline.scene, placement, result, "x")
    count = len(compat.node_tree(timeline.scene).nodes)
    assert place_in_compositor(timeline.scene, placement, result, "x") == first
    assert find_in_compositor(timeline.scene, result) == first
    assert len(compat.node_tree(timeline.scene).nodes) == count


def test_compositor_follows_a_plate_that_moved_meanwhile(timeline, shot):
    plate, placement, result = shot
    compat.set_start(plate, 31)
    node = place_in_compositor(timeline.scene, placement, result, "x")
    assert node.frame_start == 31
    over = node.outputs["Image"].links[0].to_node
    (curve,) = compat.fcurves(over.id_data.animation_data)
    keys = [tuple(key.co) for key in curve.keyframe_points]
    assert keys == [(30, 0), (31, 1), (31 + COUNT, 0)]


def test_compositor_finds_its_pictures_after_the_project_moved(timeline, shot, bpy):
    _, placement, result = shot
    project = timeline.folder / "job"
    bpy.ops.wm.save_as_mainfile(filepath=str(project / "cut.blend"))
    place_in_compositor(timeline.scene, placement, result, "x")
    bpy.ops.wm.save_mainfile()
    moved = project.rename(timeline.folder / "moved")
    bpy.ops.wm.open_mainfile(filepath=str(moved / "cut.blend"))
    node = find_in_compositor(bpy.context.scene, moved / "result")
    assert node.image.filepath == "//result/patch/000000.png"
    assert tuple(node.image.size) == (64, 48)
