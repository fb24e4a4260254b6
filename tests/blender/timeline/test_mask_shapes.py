# SPDX-License-Identifier: GPL-3.0-or-later
"""Keyframed mask shapes: what Blender shows on each frame arrives on each frame."""

from __future__ import annotations

import numpy as np
import pytest

from tests.blender import media
from wan_blender.timeline import compat
from wan_blender.timeline.mattes import MatteChoice

WIDTH, HEIGHT = 64, 48
KEYS = (1, 2, 5, 9)  # frames of the mask with a shape key: fast, then slower
FRAMES = range(1, 11)


def corners(number: int) -> np.ndarray:
    """(6, 2) pixels, y up, of shape key ``number``: a hexagon that crosses the canvas and turns."""
    centre = np.array([(8, 12), (40, 30), (56, 10), (20, 36)][number])
    angles = np.radians(60 * np.arange(6) + 25 * number)
    return centre + (7 + 2 * number) * np.column_stack([np.cos(angles), np.sin(angles)])


def shape_at(frame: float) -> np.ndarray:
    """Points on a frame of the mask: straight between shape keys, still outside of them."""
    points = np.stack([corners(number) for number in range(len(KEYS))])
    at = np.interp(frame, KEYS, np.arange(len(KEYS)))
    low = min(int(at), len(KEYS) - 2)
    return points[low] + (at - low) * (points[low + 1] - points[low])


def distance(points: np.ndarray) -> np.ndarray:
    """(H, W) from each pixel's middle to a convex outline, below 0 inside; rows from the top."""
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, HEIGHT - np.arange(HEIGHT) - 0.5)
    sides = []
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
        length = np.hypot(x1 - x0, y1 - y0)
        sides.append(((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) / length)
    return np.max(sides, 0)


def keyed_mask(timeline, bpy):
    """The mask with a shape key on each of KEYS."""
    mask = bpy.data.masks.new("Keyed")
    mask.frame_start, mask.frame_end = 1, 12
    layer = mask.layers.new(name="Layer")
    spline = layer.splines.new()
    spline.points.add(5)
    spline.use_cyclic = True
    mask.layers.active = layer
    with timeline.editor_area("IMAGE_EDITOR"):
        space = bpy.context.area.spaces.active
        space.image = bpy.data.images.new("canvas", WIDTH, HEIGHT)
        space.mode, space.mask = "MASK", mask
        for number, frame in enumerate(KEYS):
            timeline.scene.frame_set(frame)
            for point, (x, y) in zip(spline.points, corners(number), strict=True):
                point.select = True
                point.handle_left_type = point.handle_right_type = "VECTOR"
                # Mask space is as high as wide, with the canvas in its middle.
                point.co = (x / WIDTH, (y - HEIGHT / 2) / WIDTH + 0.5)
            assert bpy.ops.mask.shape_key_insert() == {"FINISHED"}
    return mask


@pytest.fixture
def mask(timeline, bpy):
    return keyed_mask(timeline, bpy)


@pytest.fixture
def plate(timeline):
    return timeline.add_image(media.write_sequence(timeline.folder / "s", len(FRAMES)))


def assert_shape(found: np.ndarray, frame: float) -> None:
    away = distance(shape_at(frame))
    assert (found[away < -0.75] == 1).all(), frame
    assert (found[away > 0.75] == 0).all(), frame


def test_shape_of_each_frame_arrives_on_that_frame(timeline, plate, mask):
    strip = timeline.strips.new_mask(name="matte", mask=mask, channel=5, frame_start=1)
    compat.set_length(strip, len(FRAMES))
    _, _, found = timeline.export(plate, [MatteChoice("strip:matte")])
    for frame, values in zip(FRAMES, found, strict=True):
        assert_shape(values[..., 0] if values.ndim == 3 else values, frame)


def test_moved_and_trimmed_mask_strips_keep_their_time(timeline, mask):
    plate = timeline.add_image(
        media.write_sequence(timeline.folder / "s", len(FRAMES)), first=41, length=len(FRAMES)
    )
    strip = timeline.strips.new_mask(name="matte", mask=mask, channel=5, frame_start=40)
    compat.set_length(strip, 14)
    compat.trim(strip, 2, 0)
    _, _, found = timeline.export(plate, [MatteChoice("strip:matte")])
    for index, values in enumerate(found):
        frame = 41 + index
        if frame < 42:
            assert not values.any()
        else:
            assert_shape(values, frame - 40 + 1)


@pytest.mark.parametrize("time", ["RELATIVE", "ABSOLUTE"])
def test_masks_of_modifiers_keep_their_time(timeline, mask, time):
    plate = timeline.add_image(
        media.write_sequence(timeline.folder / "s", len(FRAMES)), first=3, length=8
    )
    modifier = plate.modifiers.new("look", "BRIGHT_CONTRAST")
    modifier.input_mask_type, modifier.input_mask_id, modifier.mask_time = "ID", mask, time
    _, _, found = timeline.export(plate, [MatteChoice("modifier:look")])
    for index, values in enumerate(found):
        assert_shape(values, index + 1 if time == "RELATIVE" else index + 3)


def test_layers_that_fade_and_subtract_arrive_as_blender_renders_them(timeline, plate, bpy, mask):
    second = mask.layers.new(name="Hole")
    spline = second.splines.new()
    spline.points.add(3)
    spline.use_cyclic = True
    for point, corner in zip(spline.points, ((0, 0.4), (1, 0.4), (1, 0.5), (0, 0.5)), strict=True):
        point.co = corner
        point.handle_left_type = point.handle_right_type = "VECTOR"
    second.blend = "SUBTRACT"
    for frame, alpha in ((1, 0.0), (10, 1.0)):
        second.alpha = alpha
        second.keyframe_insert("alpha", frame=frame)
    strip = timeline.strips.new_mask(name="matte", mask=mask, channel=5, frame_start=1)
    compat.set_length(strip, len(FRAMES))
    _, _, found = timeline.export(plate, [MatteChoice("strip:matte")])
    wanted = timeline.render(strip, 16, "BW")
    for index, (got, want) in enumerate(zip(found, wanted, strict=True)):
        np.testing.assert_allclose(
            got[1:], want[1:, :, 0] / 65535, atol=2 / 255, err_msg=str(index)
        )
    assert abs(found[4] - found[4].round()).max() > 0.1  # half of it is subtracted there
