# SPDX-License-Identifier: GPL-3.0-or-later
"""Plates brighter than white, under every view: what was not generated comes back as it was."""

from __future__ import annotations

import numpy as np
import pytest

from tests.blender import media
from tests.blender.timeline import identity
from wan_blender.light import exr
from wan_blender.timeline.mattes import MatteChoice

FRAMES = range(1, 4)


def bright(number: int, peak: float = 30.0) -> np.ndarray:
    """(48, 64, 3): a ramp from below black to ``peak``, and colours outside of Rec.709."""
    y, x = np.mgrid[0:48, 0:64]
    light = np.geomspace(0.001, peak, 64)[(x + number) % 64]
    picture = np.dstack([light, light * y / 47, light * (47 - y) / 47])
    picture[10:20, 20:40, 0] = -0.125
    return picture.astype(np.float16)


def write(timeline, name: str, make=bright, alpha=None, count: int = 3) -> list:
    paths = []
    for number in range(count):
        picture = make(number)
        planes = dict(zip("RGB", np.moveaxis(picture, 2, 0), strict=True))
        if alpha is not None:
            planes = {key: plane * alpha for key, plane in planes.items()} | {"A": alpha}
        paths.append(timeline.folder / f"{name}{number:03d}.exr")
        exr.write(paths[-1], planes)
    return paths


def views(bpy):
    yield "Standard"
    yield "AgX"
    yield "Filmic"
    yield "Standard, exposure -3"
    if bpy.app.version >= (5, 0):
        yield "PQ"


def look_through(scene, view: str) -> None:
    if view == "PQ":
        scene.display_settings.display_device = "Rec.2100-PQ"
        view = "Standard"
    name, _, exposure = view.partition(", exposure ")
    scene.view_settings.view_transform = name
    scene.view_settings.exposure = float(exposure or 0)


def test_bright_plate_is_exported_as_half_float_bit_for_bit(timeline):
    paths = write(timeline, "s")
    clip = timeline.add_image(paths)
    shot, plate = export(timeline, clip)
    assert shot.bit_depth == 16
    assert shot.peak == pytest.approx(30, rel=1e-3)
    for path, frame in zip(paths, plate, strict=True):
        source = exr.read(path)
        assert sorted(frame) == ["B", "G", "R"]
        for name, values in frame.items():
            np.testing.assert_array_equal(values, source[name])


def export(timeline, clip):
    from wan_blender.timeline.export import export
    from wan_blender.timeline.shot import read_shot

    folder = timeline.folder / "exported"
    before = timeline.snapshot()
    shot = export(read_shot(timeline.scene, clip, [MatteChoice("whole")]), folder)
    assert timeline.snapshot() == before
    return shot, [exr.read(path) for path in sorted((folder / "plate").iterdir())]


@pytest.mark.parametrize("how", ["plain", "blended", "soft alpha"])
def test_handed_back_plate_looks_as_before_under_every_view(timeline, bpy, how):
    rng = np.random.default_rng(0)
    alpha = None if how != "soft alpha" else rng.choice([0, 0.25, 1], (48, 64)).astype(np.float16)
    clip = timeline.add_image(write(timeline, "s", alpha=alpha), channel=2)
    timeline.strips.new_effect(
        name="ground", type="COLOR", channel=1, frame_start=1, **length(3)
    ).color = (0.2, 0.4, 0.1)
    if how == "blended":
        clip.blend_type, clip.blend_alpha = "SCREEN", 0.6
    before = {view: render(timeline, view, "before") for view in views(bpy)}
    identity.run(timeline, "plate")
    for view, wanted in before.items():
        np.testing.assert_array_equal(render(timeline, view, "after"), wanted, err_msg=view)


def length(frames: int) -> dict:
    from wan_blender.timeline import compat

    return {"length": frames} if compat.NEW_TIMES else {"frame_end": 1 + frames}


def render(timeline, view: str, name: str) -> np.ndarray:
    scene = timeline.scene
    look_through(scene, view)
    try:
        return identity.render(timeline, FRAMES, f"{name} {view}", view=None)
    finally:
        scene.display_settings.display_device = "sRGB"
        look_through(scene, "Standard")


def test_one_bright_frame_makes_all_frames_float(timeline):
    def make(number):
        return np.full((48, 64, 3), 4.0 if number == 2 else 0.5, np.float16)

    clip = timeline.add_image(write(timeline, "s", make))
    shot, plate = export(timeline, clip)
    assert (shot.peak, len(plate)) == (4.0, 3)


def test_float_plate_without_light_above_white_is_png(timeline):
    def make(number):
        return np.linspace(0, 1, 64 * 48 * 3).reshape(48, 64, 3).astype(np.float16)

    clip = timeline.add_image(write(timeline, "s", make))
    timeline.add_mask(channel=9)
    shot, plate, _ = timeline.export(clip)
    assert (shot.peak, shot.bit_depth, plate[0].dtype) == (0, 16, np.dtype("u2"))
    wanted = timeline.render(clip, 16, "RGB")
    assert abs(plate[0].astype(int) - wanted[0]).max() <= 1


def test_negative_light_alone_needs_float_too(timeline):
    def make(number):
        return np.where(np.arange(3) == 0, -0.125, np.full((48, 64, 3), 0.5)).astype(np.float16)

    clip = timeline.add_image(write(timeline, "s", make))
    shot, plate = export(timeline, clip)
    assert shot.peak == 1
    np.testing.assert_array_equal(plate[0]["R"], np.float16(-0.125))


def test_colours_multiplied_above_white_come_back(timeline):
    clip = timeline.add_image(write(timeline, "s", lambda n: bright(n, 0.9)))
    clip.color_multiply = 3
    before = render(timeline, "Standard, exposure -3", "before")
    shot, _ = export(timeline, clip)
    assert shot.peak > 2
    identity.run(timeline, "plate", "above")
    # a plate is rounded to half float once
    after = render(timeline, "Standard, exposure -3", "after")
    assert abs(after.astype(int) - before).max() <= 65535 * 2**-12


@pytest.mark.parametrize("working_space", ["Linear Rec.2020", "ACEScg"])
@pytest.mark.parametrize("bits", [8, 16, "half"])
def test_plates_come_back_in_every_working_space(timeline, bpy, bits, working_space):
    if bpy.app.version < (5, 0):
        pytest.skip("4.5 has one working space")
    bpy.ops.wm.set_working_color_space(working_space=working_space)
    try:
        if bits == "half":
            paths = write(timeline, "s")
        else:
            paths = media.write_sequence(timeline.folder / "s", 3, bits=bits)
        clip = timeline.add_image(paths)
        clip.blend_alpha = 0.7
        before = {view: render(timeline, view, "before") for view in views(bpy)}
        identity.run(timeline, "plate")
        for view, wanted in before.items():
            after = render(timeline, view, "after").astype(int)
            assert abs(after - wanted).max() <= 2, view  # of 65535: two matrices more on the way
        if bits == "half":
            found = exr.read(next(timeline.folder.glob("job*/plate/000000.exr")))
            assert abs(found["R"] / bright(0)[..., 0].astype(float) - 1).max() < 2**-10
    finally:
        bpy.ops.wm.set_working_color_space(working_space="Linear Rec.709")


def hdr_movie(timeline, bpy) -> str | None:
    """A 10-bit PQ movie of light up to 6 times white, as Blender writes it; None in 4.5."""
    scene = timeline.scene
    settings = scene.render.image_settings
    if "media_type" not in settings.bl_rna.properties:
        return None
    clip = timeline.add_image(write(timeline, "source", lambda n: np.abs(bright(n, 6.0))))
    scene.display_settings.display_device = "Rec.2100-PQ"
    settings.media_type = "VIDEO"
    scene.render.ffmpeg.format, scene.render.ffmpeg.codec = "MPEG4", "H265"
    settings.color_depth = "10"
    scene.frame_start, scene.frame_end = FRAMES.start, FRAMES.stop - 1
    scene.render.filepath = str(timeline.folder / "hdr.mp4")
    bpy.ops.render.render(animation=True)
    timeline.strips.remove(clip)
    scene.display_settings.display_device = "sRGB"
    (path,) = timeline.folder.glob("hdr*.mp4")
    return str(path)


def test_hdr_movie_comes_back(timeline, bpy):
    path = hdr_movie(timeline, bpy)
    if path is None:
        pytest.skip("4.5 writes no HDR video")
    clip = timeline.strips.new_movie(name="plate", filepath=path, channel=1, frame_start=1)
    clip.colorspace_settings.name = "Rec.2100-PQ"
    before = {view: render(timeline, view, "before") for view in views(bpy)}
    shot, _ = export(timeline, clip)
    assert shot.peak > 4
    identity.run(timeline, "plate")
    for view, wanted in before.items():
        after = render(timeline, view, "after").astype(int)
        assert abs(after - wanted).max() <= 65535 * 2**-11, view  # half float rounds 10 bits once


@pytest.mark.parametrize("space", ["Non-Color", "Linear Rec.709", "AgX Base sRGB", "Filmic Log"])
def test_clips_of_8_bits_in_another_colour_space_come_back(timeline, space):
    clip = timeline.add_image(media.write_sequence(timeline.folder / "s", 3))
    clip.colorspace_settings.name = space
    before = identity.render(timeline, FRAMES, "before").astype(int)
    identity.run(timeline, "plate")
    after = identity.render(timeline, FRAMES, "after")
    assert abs(after - before).max() <= 16  # of 65535: rounded to 16 bits once, and made brighter
