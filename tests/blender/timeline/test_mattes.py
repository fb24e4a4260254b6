# SPDX-License-Identifier: GPL-3.0-or-later
"""Mattes: which there are, which are taken, and the values that arrive."""

import numpy as np
import pytest

from tests.blender import media
from wan_blender.core.errors import BadRequest, EmptyMask, UnsupportedClip
from wan_blender.timeline import compat, mattes
from wan_blender.timeline.mattes import MatteChoice, read_choice
from wan_blender.timeline.shot import read_shot

LEFT = ((0, 0), (0.5, 0), (0.5, 1), (0, 1))
BOTTOM = ((0, 0), (1, 0), (1, 0.5), (0, 0.5))
TOLERANCE = 1 / 255


@pytest.fixture
def plate(timeline):
    path = media.write_png(timeline.folder / "plate.png", media.frame(0))
    return timeline.add_image([path], length=5)


def middle(frame):
    return frame[24, 32]


def ids(timeline, plate, kind):
    return [m.id for m in mattes.list_mattes(timeline.scene, plate) if m.kind == kind]


def add_modifier(plate, source, time="RELATIVE"):
    modifier = plate.modifiers.new("Masked", "BRIGHT_CONTRAST")
    if hasattr(source, "layers"):
        modifier.input_mask_type, modifier.input_mask_id = "ID", source
    else:
        modifier.input_mask_type, modifier.input_mask_strip = "STRIP", source
    modifier.mask_time = time
    return modifier


def test_list_holds_every_kind_in_order(timeline, plate):
    over = timeline.add_mask(channel=3, length=5)
    over.name = "over"
    later = timeline.add_mask(channel=4, first=50)
    later.name = "later"
    timeline.add_effect("COLOR", channel=6).name = "colour"
    add_modifier(plate, over.mask)
    found = [(m.kind, m.id) for m in mattes.list_mattes(timeline.scene, plate)]
    assert found == [
        ("mask_strip", "strip:over"),
        ("modifier", "modifier:Masked"),
        ("strip", "strip:later"),
        ("strip", "strip:colour"),
        ("mask", "mask:Mask"),
        ("mask", "mask:Mask.001"),
        ("canvas", "whole"),
        ("canvas", "empty"),
    ]


def test_default_is_all_mask_strips_over_the_plate(timeline, plate):
    for channel, first in ((3, 1), (4, 3), (6, 90)):
        timeline.add_mask(channel=channel, first=first)
    below = timeline.add_mask(channel=1, first=70)
    below.channel = 1
    request = read_shot(timeline.scene, plate)
    assert [choice.id for choice in request.mattes] == ["strip:matte", "strip:matte.001"]


def test_default_without_mask_strips_is_the_modifiers_mask(timeline, plate):
    add_modifier(plate, timeline.make_mask())
    request = read_shot(timeline.scene, plate)
    assert [choice.id for choice in request.mattes] == ["modifier:Masked"]


def test_no_mask_at_all_says_how_to_make_one(timeline, plate):
    with pytest.raises(EmptyMask, match=r"No mask lies over strip 'plate'.*New Matte"):
        read_shot(timeline.scene, plate)


def test_unknown_matte_is_refused_with_what_there_is(timeline, plate):
    timeline.add_mask(length=5)
    with pytest.raises(BadRequest, match=r"'strip:nope'.*strip:matte"):
        read_shot(timeline.scene, plate, [MatteChoice("strip:nope")])
    assert mattes.find_matte(timeline.scene, plate, "matte").id == "strip:matte"
    with pytest.raises(BadRequest, match="'nope'"):
        mattes.find_matte(timeline.scene, plate, "nope")


@pytest.mark.parametrize("value", [0.25, 0.5, 0.75, 1.0])
def test_strip_opacity_is_the_mask_value(timeline, plate, value):
    strip = timeline.add_mask(length=5)
    strip.blend_alpha = value
    _, _, masks = timeline.export(plate)
    for mask in masks:
        assert abs(mask - value).max() <= TOLERANCE


def test_replaced_mask_strip_keeps_its_opacity(timeline, plate):
    strip = timeline.add_mask(length=5)
    strip.blend_type, strip.blend_alpha = "REPLACE", 0.5
    _, _, masks = timeline.export(plate)
    assert abs(masks[2] - 0.5).max() <= TOLERANCE


def test_keyframed_opacity_arrives_on_every_frame(timeline, plate):
    strip = timeline.add_mask(length=5)
    for frame, value in ((1, 0.0), (5, 1.0)):
        strip.blend_alpha = value
        strip.keyframe_insert("blend_alpha", frame=frame)
    for curve in compat.fcurves(timeline.scene.animation_data):
        for key in curve.keyframe_points:
            key.interpolation = "LINEAR"
    _, _, masks = timeline.export(plate)
    for mask, value in zip(masks, (0, 0.25, 0.5, 0.75, 1), strict=True):
        assert abs(mask - value).max() <= TOLERANCE


def test_keyframed_layer_alpha_arrives_on_every_frame(timeline, plate):
    mask = timeline.add_mask(length=5).mask
    for frame, value in ((1, 1.0), (5, 0.0)):
        mask.layers[0].alpha = value
        mask.layers[0].keyframe_insert("alpha", frame=frame)
    for curve in compat.fcurves(mask.animation_data):
        for key in curve.keyframe_points:
            key.interpolation = "LINEAR"
    _, _, masks = timeline.export(plate)
    for frame, value in zip(masks, (1, 0.75, 0.5, 0.25, 0), strict=True):
        assert abs(frame - value).max() <= TOLERANCE


def test_keyframed_shape_moves_over_the_frames(timeline, plate, bpy):
    mask = timeline.add_mask(length=5).mask
    spline = mask.layers[0].splines[0]
    with timeline.editor_area("IMAGE_EDITOR"):
        space = bpy.context.window_manager.windows[0].screen.areas[0].spaces.active
        space.mode, space.mask = "MASK", mask
        for frame, x in ((1, 0.0), (5, 0.5)):
            timeline.scene.frame_set(frame)
            corners = ((x, 0), (x + 0.5, 0), (x + 0.5, 1), (x, 1))
            for point, corner in zip(spline.points, corners, strict=True):
                point.co, point.select = corner, True
            bpy.ops.mask.shape_key_insert()
    timeline.scene.frame_set(1)
    _, _, masks = timeline.export(plate)
    for index, frame in enumerate(masks):
        columns = np.flatnonzero(frame[24] > 0.5)
        assert (columns[0], columns[-1]) == (8 * index, 8 * index + 31)


def test_point_parented_to_a_tracker_follows_it(timeline, plate, bpy):
    paths = media.write_sequence(timeline.folder / "clip", 5)
    clip = bpy.data.movieclips.load(str(paths[0]))
    clip.frame_duration  # noqa: B018  reading it makes Blender count the files
    track = clip.tracking.tracks.new(name="Track", frame=1)
    for frame in range(1, 6):
        track.markers.insert_frame(frame, co=(0.1 * frame, 0.5))
    clip.tracking.tracks.active = track
    mask = timeline.add_mask(length=5, corners=LEFT).mask
    for point in mask.layers[0].splines[0].points:
        point.select = True
    with timeline.editor_area("CLIP_EDITOR"):
        space = bpy.context.window_manager.windows[0].screen.areas[0].spaces.active
        space.clip, space.mode, space.mask = clip, "MASK", mask
        bpy.ops.mask.parent_set()
    _, _, masks = timeline.export(plate)
    edges = [np.flatnonzero(frame[24] > 0.5).max() for frame in masks]
    steps = np.diff(edges)
    assert (abs(steps - 6.4) <= 1).all(), edges


def test_feather_is_soft_and_even(timeline, plate):
    mask = timeline.add_mask(length=5, corners=((0, 1), (0.25, 1), (0.25, 0), (0, 0))).mask
    for point in mask.layers[0].splines[0].points:
        point.weight = 0.25
    mask.layers[0].falloff = "LINEAR"
    _, _, masks = timeline.export(plate)
    row = masks[0][24]
    soft = row[(row > 0.02) & (row < 0.98)]
    assert len(soft) > 8
    assert (np.diff(soft) < 0).all()
    assert abs(np.diff(soft) - np.diff(soft).mean()).max() < 0.02


def test_short_mask_strip_leaves_the_other_frames_empty(timeline, plate):
    timeline.add_mask(first=3, length=2)
    _, _, masks = timeline.export(plate)
    assert [frame.max() for frame in masks] == [0, 0, 1, 1, 0]


def test_long_mask_strip_is_cut_to_the_plate(timeline, plate):
    timeline.add_mask(first=-20, length=90)
    shot, _, masks = timeline.export(plate)
    assert shot.frame_count == len(masks) == 5


def test_muted_mask_strip_counts(timeline, plate):
    timeline.add_mask(length=5).mute = True
    _, _, masks = timeline.export(plate)
    assert masks[0].min() == 1


def test_whole_canvas_mask_has_no_hole(timeline, plate):
    timeline.add_mask(length=5)
    _, _, masks = timeline.export(plate)
    for mask in masks:
        assert mask.min() == mask.max() == 1


def test_mattes_add_subtract_and_intersect(timeline, plate):
    timeline.add_mask(channel=3, length=5, corners=LEFT).name = "left"
    timeline.add_mask(channel=4, length=5, corners=BOTTOM).name = "bottom"
    wanted = {  # top left, top right, bottom left, bottom right
        "add": (1, 0, 1, 1),
        "subtract": (1, 0, 0, 0),
        "intersect": (0, 0, 1, 0),
    }
    for operation, corners in wanted.items():
        choices = [MatteChoice("strip:left"), MatteChoice("strip:bottom", "luma", operation)]
        _, _, masks = timeline.export(plate, choices)
        frame = masks[0]
        got = (frame[5, 5], frame[5, 60], frame[40, 5], frame[40, 60])
        assert got == corners, operation


def test_first_matte_subtracted_keeps_the_rest(timeline, plate):
    timeline.add_mask(channel=3, length=5, corners=LEFT)
    _, _, masks = timeline.export(plate, [MatteChoice("strip:matte", "luma", "subtract")])
    assert (masks[0][24, 5], masks[0][24, 60]) == (0, 1)


def test_empty_mask_is_refused_before_the_plate_is_exported(timeline, plate):
    timeline.add_mask(length=5).blend_alpha = 0
    seen = []
    with pytest.raises(EmptyMask, match="empty on all 5 frames of strip 'plate'"):
        timeline.export(plate, on_frame=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 10) for i in range(1, 6)]
    assert list((timeline.folder / "job").iterdir()) == []


def test_one_pixel_on_one_frame_is_enough(timeline, plate):
    x, y = 20 / 64, (30 + 8) / 64  # mask space is a square around the canvas
    dot = ((x, y), (x + 1 / 64, y), (x + 1 / 64, y + 1 / 64), (x, y + 1 / 64))
    timeline.add_mask(first=4, length=1, corners=dot)
    _, _, masks = timeline.export(plate)
    lit = [(frame > 0.5).sum() for frame in masks]
    assert lit == [0, 0, 0, 1, 0]
    assert masks[3][47 - 30, 20] > 0.5


def test_picture_as_matte_by_luma_and_alpha(timeline, plate):
    picture = np.zeros((48, 64, 4), np.uint8)
    picture[:, :32] = (128, 128, 128, 255)
    picture[:24, 32:] = (255, 0, 0, 64)
    path = media.write_png(timeline.folder / "m.png", picture)
    strip = timeline.add_image([path], channel=7, length=5)
    strip.name = "picture"
    _, _, masks = timeline.export(plate, [MatteChoice("strip:picture")])
    assert abs(masks[0][24, 5] - 128 / 255) <= TOLERANCE
    assert abs(masks[0][5, 60] - 0.2126 * 64 / 255) <= TOLERANCE
    _, _, masks = timeline.export(plate, [MatteChoice("strip:picture", "alpha")])
    assert masks[0][24, 5] == 1
    assert abs(masks[0][5, 60] - 64 / 255) <= TOLERANCE
    assert masks[0][40, 60] == 0


def add_float_picture(timeline, bpy, pixels):
    """A strip of 5 frames that shows (H, W, 4) float32, which Blender takes from bottom to top."""
    image = bpy.data.images.new("floats", 64, 48, alpha=True, float_buffer=True)
    image.pixels.foreach_set(pixels[::-1].ravel())
    image.file_format, image.filepath_raw = "OPEN_EXR", str(timeline.folder / "floats.exr")
    image.save()
    bpy.data.images.remove(image)
    strip = timeline.strips.new_image("floats", str(timeline.folder / "floats.exr"), 7, 1)
    compat.set_length(strip, 5)
    return strip


@pytest.mark.parametrize(
    ("channel", "value", "told"),
    [("luma", 3, r"1\.\d+"), ("luma", -2, "-2"), ("alpha", 3, "3"), ("alpha", -0.5, "-0.5")],
)
def test_values_beyond_black_and_white_are_refused(timeline, plate, bpy, channel, value, told):
    pixels = np.ones((48, 64, 4), np.float32)
    pixels[10, 20, slice(3) if channel == "luma" else 3] = value
    add_float_picture(timeline, bpy, pixels)
    with pytest.raises(UnsupportedClip, match=f"'floats' has a value of {told} on frame 1; as a"):
        timeline.export(plate, [MatteChoice("strip:floats", channel)])


def test_values_that_rounding_and_scaling_put_beyond_white_are_clipped(timeline, plate, bpy):
    pixels = np.ones((48, 64, 4), np.float32)
    pixels[..., :3] = -0.002
    pixels[10:30, 10:40, :3] = 1.002
    strip = add_float_picture(timeline, bpy, pixels)
    _, _, masks = timeline.export(plate, [MatteChoice("strip:floats")])
    assert (masks[0][20, 20], masks[0][40, 50]) == (1, 0)
    strip.transform.scale_x = strip.transform.scale_y = 3  # Blender's filter overshoots by 7 %
    _, _, masks = timeline.export(plate, [MatteChoice("strip:floats")])
    assert (masks[0].min(), masks[0].max()) == (0, 1)


@pytest.mark.parametrize(("channel", "plane"), [("luma", 1), ("alpha", 3)])
def test_values_that_are_no_numbers_are_refused_with_their_count(
    timeline, plate, bpy, channel, plane
):
    pixels = np.ones((48, 64, 4), np.float32)
    pixels[10, 10:13, plane] = np.nan
    add_float_picture(timeline, bpy, pixels)
    with pytest.raises(UnsupportedClip, match="'floats' has 3 of 3072 pixels on frame 1 that are"):
        timeline.export(plate, [MatteChoice("strip:floats", channel)])


def test_plate_whose_alpha_is_no_number_is_refused_as_canvas(timeline, bpy):
    pixels = np.ones((48, 64, 4), np.float32)
    pixels[10, 10, 3] = np.nan
    strip = add_float_picture(timeline, bpy, pixels)
    with pytest.raises(UnsupportedClip, match="'floats' has 1 of 3072 pixels on frame 1"):
        timeline.export(strip, [MatteChoice("empty")])


def test_picture_without_alpha_is_full_as_alpha_matte(timeline, plate):
    strip = timeline.add_effect("COLOR", channel=7, length=5)
    _, _, masks = timeline.export(plate, [MatteChoice(f"strip:{strip.name}", "alpha")])
    assert masks[0].min() == 1


def test_mask_datablock_follows_the_scene_frame(timeline, bpy):
    path = media.write_png(timeline.folder / "plate.png", media.frame(0))
    plate = timeline.add_image([path], first=11, length=5)
    mask = timeline.make_mask()
    fade(mask, 11, 15)
    mask.frame_start, mask.frame_end = 1, 12  # a modifier's mask goes on after its last frame
    _, _, masks = timeline.export(plate, [MatteChoice("mask:Mask")])
    for frame, value in zip(masks, (0, 0.25, 0.5, 0.75, 1), strict=True):
        assert abs(frame - value).max() <= TOLERANCE


def fade(mask, first, last):
    for frame, value in ((first, 0.0), (last, 1.0)):
        mask.layers[0].alpha = value
        mask.layers[0].keyframe_insert("alpha", frame=frame)
    for curve in compat.fcurves(mask.animation_data):
        for key in curve.keyframe_points:
            key.interpolation = "LINEAR"


@pytest.mark.parametrize("time", ["RELATIVE", "ABSOLUTE"])
def test_modifier_mask_follows_its_mask_time(timeline, time):
    """The mask has the values with which Blender's own modifier applies it."""
    black = media.write_png(timeline.folder / "b.png", np.zeros((48, 64, 3), np.uint8))
    plate = timeline.add_image([black], first=11, length=5)
    mask = timeline.make_mask()
    mask.frame_start, mask.frame_end = 1, 100
    fade(mask, 1, 21)
    modifier = add_modifier(plate, mask, time)
    modifier.bright = 100.0  # shows the mask: black becomes white where it is 1
    _, pictures, masks = timeline.export(plate)
    for picture, frame in zip(pictures, masks, strict=True):
        assert abs(picture[24, 32, 0] / 255 - middle(frame)) <= 2 * TOLERANCE
    values = (0, 0.05, 0.1, 0.15, 0.2) if time == "RELATIVE" else (0.5, 0.55, 0.6, 0.65, 0.7)
    np.testing.assert_allclose([middle(frame) for frame in masks], values, atol=TOLERANCE)


def test_modifier_strip_is_taken_also_when_muted(timeline, plate):
    strip = timeline.add_mask(channel=8, length=5, corners=LEFT)
    strip.mute = True
    add_modifier(plate, strip)
    _, _, masks = timeline.export(plate, [MatteChoice("modifier:Masked")])
    assert (masks[0][24, 5], masks[0][24, 60]) == (1, 0)


def test_scene_strip_with_nodes_is_a_compositor_matte(timeline, plate, bpy):
    other = bpy.data.scenes.new("Nodes")
    other.render.engine, other.cycles.samples = "CYCLES", 1
    other.render.resolution_x, other.render.resolution_y = 64, 48
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    other.collection.objects.link(camera)
    other.camera = camera
    compat.output_socket(compat.ensure_node_tree(other)).default_value = (0.5, 0.5, 0.5, 1)
    tree = compat.node_tree(other)
    for link in list(tree.links):
        tree.links.remove(link)
    other.frame_end = 9
    strip = timeline.strips.new_scene("nodes", other, 7, 1)
    compat.set_length(strip, 5)
    assert ids(timeline, plate, "compositor") == ["strip:nodes"]
    _, _, masks = timeline.export(plate, [MatteChoice("strip:nodes")])
    assert abs(masks[0] - 0.7354).max() <= TOLERANCE  # linear 0.5 as the sequencer shows it


def test_compositor_modifier_of_the_plate_is_a_matte(timeline, plate, bpy):
    if not compat.NODE_GROUP:
        pytest.skip("Blender 4.5 has no compositor modifier")
    tree = bpy.data.node_groups.new("Half", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    tree.nodes.new("NodeGroupOutput").inputs[0].default_value = (0.5, 0.5, 0.5, 1)
    plate.modifiers.new("Nodes", "COMPOSITOR").node_group = tree
    assert ids(timeline, plate, "compositor") == ["compositor:Nodes"]
    _, pictures, masks = timeline.export(plate, [MatteChoice("compositor:Nodes")])
    np.testing.assert_array_equal(pictures[0][..., :3], media.frame(0))  # without the matte's nodes
    assert masks[0].min() == masks[0].max() > 0.4


def test_cancelled_export_leaves_nothing(timeline, plate):
    from wan_blender.core.errors import Cancelled

    timeline.add_mask(length=5)
    count = iter(range(100))
    with pytest.raises(Cancelled):
        timeline.export(plate, should_cancel=lambda: next(count) == 6)
    assert list((timeline.folder / "job").iterdir()) == []


def in_meta(timeline, *strips):
    """The strips grouped as an editor does it, in a meta strip that hides one frame at each end."""
    for other in timeline.strips:
        other.select = other in strips
    timeline.scene.sequence_editor.active_strip = strips[0]
    with timeline.editor_area("SEQUENCE_EDITOR"):
        timeline.bpy.ops.sequencer.meta_make()
    meta = strips[0].parent_meta()
    meta.name, meta.channel = "meta", 2
    compat.trim(meta, 1, 1)
    return meta


def test_mask_strip_above_the_meta_strip_is_the_mask_of_a_clip_inside(timeline, plate):
    meta = in_meta(timeline, plate)
    compat.set_start(meta, 12)  # moves the clip inside with it
    low = timeline.add_mask(channel=1, first=1, length=40)
    low.name = "below"
    mask = timeline.add_mask(channel=4, first=1, length=40, corners=LEFT)
    mask.name, mask.blend_alpha = "over", 0.3
    assert compat.start(plate) == 11
    assert ids(timeline, plate, "mask_strip") == ["strip:over"]
    assert ids(timeline, plate, "strip") == ["strip:meta", "strip:below"]
    shot, pictures, masks = timeline.export(plate)
    assert (shot.frame_start, len(masks)) == (11, 5)
    for picture, frame in zip(pictures, masks, strict=True):
        np.testing.assert_array_equal(picture[..., :3], media.frame(0))
        assert abs(frame[:, :32] - 0.3).max() <= 1e-4
        assert frame[:, 32:].max() == 0


def test_masks_of_inner_levels_come_before_outer_ones(timeline, plate):
    inner = timeline.add_mask(channel=6, length=5)
    in_meta(timeline, plate, inner)
    timeline.add_mask(channel=4, length=5)
    assert ids(timeline, plate, "mask_strip") == ["strip:matte", "strip:matte.001"]


def test_mask_strip_inside_a_meta_strip_serves_a_clip_outside(timeline, plate):
    mask = timeline.add_mask(channel=3, length=5, corners=LEFT)
    mask.blend_alpha = 0.3
    fade(mask.mask, 1, 5)
    in_meta(timeline, mask)
    assert ids(timeline, plate, "mask_strip") == []
    _, _, masks = timeline.export(plate, [MatteChoice("strip:matte")])
    for frame, value in zip(masks, (0, 0.25, 0.5, 0.75, 0), strict=True):  # the meta hides the last
        assert abs(frame[:, :32] - 0.3 * value).max() <= 1e-4
        assert frame[:, 32:].max() == 0


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("Mask:add", "Mask:add", ("luma", "add")),
        ("Mask:add", "strip:Mask:add", ("luma", "add")),
        ("Mask:subtract", "Mask:subtract", ("luma", "add")),
        ("Mask:add", "Mask:add:alpha:subtract", ("alpha", "subtract")),
        ("Mask:luma", "Mask:luma:intersect", ("luma", "intersect")),
        ("Mask", "Mask:alpha", ("alpha", "add")),
        ("Mask:alpha", "Mask:alpha:alpha", ("alpha", "add")),
    ],
)
def test_names_are_found_exactly_before_their_ends_mean_something(timeline, name, text, wanted):
    plate = timeline.add_effect("COLOR")
    timeline.add_mask(channel=2).name = name
    choice = read_choice(timeline.scene, plate, text)
    assert (choice.id, choice.channel, choice.operation) == (f"strip:{name}", *wanted)


SPACES = ["Linear Rec.709", "Linear Rec.2020", "ACEScg"]


@pytest.fixture(params=SPACES)
def working_space(request, bpy):
    """Of the open file; 4.5 knows Rec.709 only."""
    if not compat.NODE_GROUP and request.param != SPACES[0]:
        pytest.skip("4.5 has one working space")
    if compat.NODE_GROUP:
        bpy.ops.wm.set_working_color_space(working_space=request.param)
    yield request.param
    if compat.NODE_GROUP:
        bpy.ops.wm.set_working_color_space(working_space=SPACES[0])


@pytest.mark.parametrize(
    ("colour", "luma"),
    [((255, 0, 0), 0.2126), ((0, 255, 0), 0.7152), ((0, 0, 255), 0.0722), ((128,) * 3, 128 / 255)],
)
def test_luma_is_that_of_rec709_in_every_working_space(timeline, working_space, colour, luma):
    plate = timeline.add_image(media.write_sequence(timeline.folder / "s", 2), first=1)
    picture = np.full((48, 64, 3), colour, np.uint8)
    matte = timeline.add_image([media.write_png(timeline.folder / "m.png", picture)], 2, length=2)
    matte.name = "matte"
    _, frames, mask = timeline.export(plate, [MatteChoice("strip:matte")])
    np.testing.assert_allclose(mask[0], luma, atol=2e-4)
    np.testing.assert_array_equal(frames[0], media.frame(0))


def test_mask_strips_keep_their_values_in_every_working_space(timeline, working_space):
    plate = timeline.add_image(media.write_sequence(timeline.folder / "s", 2), first=1)
    timeline.add_mask(channel=2, length=2).blend_alpha = 0.25
    _, _, mask = timeline.export(plate)
    np.testing.assert_allclose(mask[0], 0.25, atol=1e-3)
