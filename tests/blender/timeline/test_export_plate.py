# SPDX-License-Identifier: GPL-3.0-or-later
"""The plate as it is exported: each kind of strip, each bit depth, exact."""

import numpy as np
import pytest

from tests.blender import media


def test_image_at_canvas_size_is_exported_byte_for_byte(timeline):
    picture = np.arange(256, dtype=np.uint8)[np.arange(48 * 64 * 3).reshape(48, 64, 3) % 256]
    path = media.write_png(timeline.folder / "all values.png", picture)
    strip = timeline.add_image([path], length=2)
    timeline.add_mask(length=2)
    shot, plate, _ = timeline.export(strip)
    assert shot.bit_depth == 8
    for frame in plate:
        assert frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, picture)


def test_image_sequence_keeps_order_and_bytes(timeline):
    strip = timeline.add_image(media.write_sequence(timeline.folder / "s", 5), first=7)
    timeline.add_mask(first=7, length=5)
    shot, plate, _ = timeline.export(strip)
    assert (shot.frame_start, shot.frame_count) == (7, 5)
    for index, frame in enumerate(plate):
        np.testing.assert_array_equal(frame, media.frame(index))


def test_sixteen_bit_image_keeps_its_depth(timeline):
    strip = timeline.add_image(media.write_sequence(timeline.folder, 2, bits=16))
    timeline.add_mask(length=2)
    shot, plate, _ = timeline.export(strip)
    assert shot.bit_depth == 16
    for index, frame in enumerate(plate):
        assert frame.dtype == np.uint16
        wanted = media.frame(index, bits=16).astype(int)
        assert abs(frame.astype(int) - wanted).max() <= 2


@pytest.mark.parametrize(("depth", "bits"), [("8", 8), ("10", 16)])
def test_lossless_clip_is_exported_as_decoded(timeline, bpy, depth, bits):
    frames = media.write_sequence(timeline.folder / "s", 6, bits=8)
    clip = media.encode(bpy, frames, timeline.folder / "clip.mkv", "FFV1", depth)
    strip = timeline.strips.new_movie("plate", str(clip), 1, 1)
    timeline.add_mask(length=6)
    shot, plate, _ = timeline.export(strip)
    assert shot.bit_depth == bits
    for index, frame in enumerate(plate):
        wanted = media.frame(index).astype(int) * (257 if bits == 16 else 1)
        assert abs(frame.astype(int) - wanted).max() <= (128 if bits == 16 else 0)  # 2 of 1024
        assert bits == 8 or np.any(frame % 257)
