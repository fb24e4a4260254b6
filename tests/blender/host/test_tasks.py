# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks: what each button sets up, exports and places, in real bpy."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.blender import media

GRAY = 128
REPO = Path(__file__).parents[3]
ENGINE = Path(os.environ.get("WAN_ENGINE_PYTHON") or REPO / ".venv" / "engine" / "bin" / "python")


@pytest.fixture
def shot(part):
    return part("timeline.shot")


@pytest.fixture
def compat(part):
    return part("timeline.compat")


@pytest.fixture
def strips(addon):
    """An empty timeline of 64x48."""
    scene = addon.context.scene
    scene.render.resolution_x, scene.render.resolution_y = 64, 48
    return scene.sequence_editor_create().strips


@pytest.fixture
def clip(strips, compat, tmp_path):
    """``clip("a", first, frames)``: a sequence whose frame i is ``media.frame(seed + i)``."""

    def add(name, first, frames, channel=2, seed=0):
        paths = [
            media.write_png(tmp_path / name / f"{i:04d}.png", media.frame(seed + i))
            for i in range(frames)
        ]
        strip = strips.new_image(name, str(paths[0]), channel, first)
        for path in paths[1:]:
            strip.elements.append(path.name)
        compat.set_length(strip, frames)
        strip.select = False
        return strip

    return add


@pytest.fixture
def set_up(addon, part):
    """``set_up("extend", strip)`` presses the button with ``strip`` active."""

    def press(task, strip, **others):
        editor = addon.context.scene.sequence_editor
        strip.select, editor.active_strip = True, strip
        assert addon.ops.wan.setup_task(task=task) == {"FINISHED"}

    return press


@pytest.fixture
def export(addon, part, tmp_path):
    """``export(strip)``: (request, plate frames, mask frames in 0..1) as Generate exports them."""

    def run(strip):
        scene = addon.context.scene
        request = part("host.properties").read_request(scene, strip)
        folder = tmp_path / "job"
        written = part("timeline.export").export(request, folder)
        assert (written.frame_start, written.frame_count) == (
            request.frame_start,
            request.frame_count,
        )
        plate = [media.read_png(path) for path in sorted((folder / "plate").iterdir())]
        mask = [
            media.read_png(path)[..., 0] / 65535 for path in sorted((folder / "mask").iterdir())
        ]
        assert len(plate) == len(mask) == request.frame_count
        return request, plate, mask

    return run


@pytest.fixture
def place(addon, part, tmp_path):
    """``place(request)``: the strip that a result of this shot becomes."""

    def run(request):
        scene = addon.context.scene
        for index in range(request.frame_count):
            rgba = np.full((48, 64, 4), GRAY, np.uint8)
            media.write_png(tmp_path / "result" / "patch" / f"{index:06d}.png", rgba)
        module = part("timeline.place")
        placement = module.Placement.of(scene, request)
        again = module.Placement(**json.loads(json.dumps(placement.__dict__)))
        return module.place(scene, again, tmp_path / "result", "made", {})

    return run


def is_all(mask, value):
    return bool(np.all(mask == value))


def test_extend_after_holds_the_last_frame_and_masks_only_new_ones(
    addon, clip, set_up, export, place, compat
):
    plate = clip("a", 11, 5)
    set_up("extend", plate)
    addon.context.scene.wan.span.after = 4
    request, frames, mask = export(plate)
    assert (request.frame_start, request.frame_count) == (11, 9)
    for index in range(5):
        np.testing.assert_array_equal(frames[index], media.frame(index))
    for index in range(5, 9):
        np.testing.assert_array_equal(frames[index], media.frame(4))
    assert [is_all(m, 0) for m in mask] == [True] * 5 + [False] * 4
    assert [is_all(m, 1) for m in mask] == [False] * 5 + [True] * 4
    strip = place(request)
    assert (compat.start(strip), compat.length(strip), strip.channel) == (16, 4, 2)
    assert strip.elements[0].filename == "000000.png"
    assert (compat.start(plate), compat.length(plate)) == (11, 5)


def test_extend_before_and_after_lies_over_the_strip(addon, clip, set_up, export, place, compat):
    plate = clip("a", 11, 5)
    set_up("extend", plate)
    span = addon.context.scene.wan.span
    span.before, span.after = 2, 3
    request, frames, mask = export(plate)
    assert (request.frame_start, request.frame_count) == (9, 10)
    np.testing.assert_array_equal(frames[0], media.frame(0))
    assert [m.max() for m in mask] == [1] * 2 + [0] * 5 + [1] * 3
    strip = place(request)
    assert (compat.start(strip), compat.length(strip), strip.channel) == (9, 10, 3)


def test_extended_strip_that_was_moved_is_followed(addon, clip, set_up, export, place, compat):
    plate = clip("a", 11, 5)
    set_up("extend", plate)
    addon.context.scene.wan.span.before, addon.context.scene.wan.span.after = 3, 0
    request, _, _ = export(plate)
    compat.set_start(plate, 31)
    strip = place(request)
    assert (compat.start(strip), compat.length(strip), strip.channel) == (28, 3, 2)


def test_long_strip_is_extended_from_its_last_frames(addon, clip, set_up, export, place, compat):
    plate = clip("a", 11, 9)
    set_up("extend", plate)
    span = addon.context.scene.wan.span
    span.after, span.context = 3, 4
    request, frames, mask = export(plate)
    assert (request.frame_start, request.frame_count) == (16, 7)
    np.testing.assert_array_equal(frames[0], media.frame(5))
    assert [m.max() for m in mask] == [0] * 4 + [1] * 3
    strip = place(request)
    assert (compat.start(strip), compat.length(strip), strip.channel) == (20, 3, 2)
    compat.trim(strip, 0, 0)
    assert compat.start(strip) == 16  # the handle brings the frames before back


def test_bridge_over_a_gap_shows_both_clips_and_fills_the_gap(
    addon, clip, set_up, export, place, compat
):
    left, right = clip("a", 1, 6), clip("b", 11, 6, seed=50)
    right.select = True
    set_up("bridge", left)
    addon.context.scene.wan.span.context = 3
    request, frames, mask = export(left)
    assert (request.frame_start, request.frame_count) == (4, 10)
    for index, wanted in enumerate([3, 4, 5, 5, 5, 50, 50, 50, 51, 52]):
        np.testing.assert_array_equal(frames[index], media.frame(wanted), err_msg=str(index))
    assert [m.max() for m in mask] == [0] * 3 + [1] * 4 + [0] * 3
    strip = place(request)
    assert (compat.start(strip), compat.length(strip), strip.channel) == (7, 4, 2)


def test_bridge_over_a_cut_makes_frames_on_both_sides_anew(
    addon, clip, set_up, export, place, compat
):
    left, _ = clip("a", 1, 6), clip("b", 7, 6, seed=50)
    set_up("bridge", left)  # the next clip on the channel is meant
    span = addon.context.scene.wan.span
    span.context, span.cut = 2, 4
    request, _, mask = export(left)
    assert [(p.strip, p.frame_start, p.frame_count) for p in request.parts] == [
        ("a", 3, 2),
        ("b", 9, 2),
    ]
    assert [m.max() for m in mask] == [0, 0, 1, 1, 1, 1, 0, 0]
    strip = place(request)
    assert (compat.start(strip), compat.length(strip), strip.channel) == (5, 4, 3)


def test_bridge_without_a_second_clip_says_what_to_select(addon, clip, set_up, shot, export):
    plate = clip("a", 1, 6)
    set_up("bridge", plate)
    with pytest.raises(Exception, match="No clip follows strip 'a' on channel 2"):
        export(plate)


def test_fill_masks_what_a_smaller_strip_leaves_empty(addon, clip, set_up, export):
    plate = clip("a", 1, 2)
    plate.transform.scale_x = plate.transform.scale_y = 0.5
    plate.transform.filter = "NEAREST"
    set_up("fill", plate)
    _, frames, mask = export(plate)
    assert frames[0].shape[2] == 4
    covered = frames[0][..., 3] / 255
    np.testing.assert_allclose(mask[0], 1 - covered, atol=1 / 255)
    assert is_all(mask[0][16:32, 20:44], 0)
    assert is_all(mask[0][:8], 1)


def test_still_exports_the_playhead_and_is_held_to_the_strips_end(
    addon, clip, set_up, export, place, compat, strips, part
):
    plate = clip("a", 11, 5)
    addon.context.scene.frame_set(13)
    set_up("still", plate)
    part("host.properties").choose_mattes(
        addon.context.scene, "a", [part("timeline.mattes").MatteChoice("whole")]
    )
    request, frames, mask = export(plate)
    assert (request.frame_start, request.frame_count, request.hold) == (13, 1, 3)
    np.testing.assert_array_equal(frames[0], media.frame(2))
    assert is_all(mask[0], 1)
    strip = place(request)
    assert (compat.start(strip), compat.length(strip), strip.channel) == (13, 3, 3)
    addon.context.scene.wan.span.hold = 1
    request, _, _ = export(plate)
    assert compat.length(place(request)) == 1


def test_still_is_made_of_the_frame_that_is_named(addon, clip, set_up, export, part):
    plate, span = clip("a", 11, 5), addon.context.scene.wan.span
    addon.context.scene.frame_set(90)
    set_up("still", plate)
    choice = part("timeline.mattes").MatteChoice("whole")
    part("host.properties").choose_mattes(addon.context.scene, "a", [choice])
    with pytest.raises(Exception, match="playhead is at frame 90; strip 'a' spans 11 to 15"):
        export(plate)
    span.frame = 14
    request, frames, _ = export(plate)
    assert (request.frame_start, request.frame_count, request.hold) == (14, 1, 2)
    np.testing.assert_array_equal(frames[0], media.frame(3))
    span.frame = 16
    with pytest.raises(Exception, match=r"span\.frame is 16; strip 'a' spans 11 to 15"):
        export(plate)


def test_whole_and_empty_combine_with_drawn_mattes(addon, clip, export, part, strips):
    plate = clip("a", 1, 2)
    plate.crop.max_x = 32
    choices = [("whole", "add"), ("empty", "subtract")]
    choice = part("timeline.mattes").MatteChoice
    part("host.properties").choose_mattes(
        addon.context.scene, "a", [choice(name, "luma", how) for name, how in choices]
    )
    _, _, mask = export(plate)
    assert is_all(mask[0][:, :31], 1)
    assert is_all(mask[0][:, 33:], 0)


def test_task_settings_return_to_their_defaults_and_own_words_stay(addon, clip, set_up):
    plate, wan = clip("a", 1, 5), addon.context.scene.wan
    set_up("restyle", plate)
    assert wan.sampling.strength == pytest.approx(0.6)
    assert [item.matte for item in wan.mattes] == ["whole"]
    set_up("remove", plate)
    assert wan.sampling.strength == 1
    assert wan.model_mask.shape == "box"
    assert wan.prompt.text == "empty background, nothing there"
    assert not wan.mattes
    set_up("replace", plate)
    assert (wan.model_mask.shape, wan.prompt.text) == ("same", "")
    wan.prompt.text = "a red ball"
    set_up("remove", plate)
    assert wan.prompt.text == "a red ball"


def test_settings_made_by_hand_outlive_every_task(addon, clip, set_up):
    plate, wan = clip("a", 1, 5), addon.context.scene.wan
    wan.mask.grow_px, wan.output.feather_px, wan.sampling.strength = 20, 5, 0.8
    wan.mask.frames = "2-3"
    for task in ("remove", "fill", "restyle", "restyle", "replace"):
        set_up(task, plate)
        assert (wan.mask.grow_px, wan.output.feather_px) == (20, 5)
        assert wan.sampling.strength == pytest.approx(0.8)
        assert wan.mask.frames == "2-3"
        assert wan.model_mask.grow_px == (16 if task == "remove" else 0)
    set_up("extend", plate)
    assert wan.mask.frames == ""  # of a shot with other frames


def test_what_a_task_set_is_the_editors_once_it_is_changed(addon, clip, set_up):
    plate, wan = clip("a", 1, 5), addon.context.scene.wan
    set_up("restyle", plate)
    wan.sampling.strength = 0.3
    for task in ("restyle", "replace"):
        set_up(task, plate)
        assert wan.sampling.strength == pytest.approx(0.3)
    wan.sampling.strength = 0.6  # as Restyle has it, but put there by hand
    set_up("replace", plate)
    assert wan.sampling.strength == pytest.approx(0.6)


def test_tasks_that_add_frames_give_image_models_all_frames_before_them(addon, clip, set_up):
    plate, wan = clip("a", 1, 5), addon.context.scene.wan
    for task, given in (("extend", 0), ("replace", 1), ("bridge", 0), ("fill", 1)):
        set_up(task, plate)
        assert wan.model_mask.start_frames == given


def test_span_of_one_strip_is_not_taken_for_another(addon, clip, set_up, export, part):
    first, _ = clip("a", 1, 5), clip("b", 11, 5)
    set_up("extend", first)
    chosen = part("host.properties").chosen_span
    assert chosen(addon.context.scene, "a").kind == "extend"
    assert chosen(addon.context.scene, "b").kind == "strip"


def test_buttons_limit_the_mask_to_frames_from_the_playhead(addon, clip, part):
    clip("a", 1, 9)
    scene, frames_in = addon.context.scene, part("core.frame_ranges").frames_in
    scene.frame_set(4)
    for which, wanted in (("from", {4, 5, 6}), ("until", {1, 2, 3, 4}), ("at", {4})):
        addon.ops.wan.limit_frames(which=which)
        assert frames_in(scene.wan.mask.frames, 1, 6) == wanted
    addon.ops.wan.limit_frames(which="all")
    assert scene.wan.mask.frames == ""


def test_extension_is_run_again_from_its_strip(
    addon, clip, set_up, part, stub_engine, tmp_path, compat
):
    part("host.preferences").get().jobs = str(tmp_path / "jobs")
    scene, plate = addon.context.scene, clip("a", 11, 5)
    set_up("extend", plate)
    scene.wan.span.after = 4
    assert addon.ops.wan.setup_task(task="extend", run_at_once=True) == {"FINISHED"}
    (made,) = [s for s in scene.sequence_editor.strips if s != plate]
    set_up("replace", made)  # other settings, for another strip
    scene.sequence_editor.active_strip = made
    assert addon.ops.wan.run_again() == {"FINISHED"}
    placed = [s for s in scene.sequence_editor.strips if s != plate]
    assert sorted((compat.start(s), compat.length(s), s.channel) for s in placed) == [
        (16, 4, 2),
        (16, 4, 3),
    ]


def test_extend_with_the_real_engine_leaves_the_strip_and_adds_new_frames(
    addon, clip, set_up, part, tmp_path, compat, monkeypatch
):
    if not ENGINE.exists():
        pytest.skip(f"no engine environment at {ENGINE}")
    monkeypatch.setenv("WAN_ENGINE_PYTHON", str(ENGINE))
    part("host.preferences").get().jobs = str(tmp_path / "jobs")
    scene, plate = addon.context.scene, clip("a", 11, 5)
    set_up("extend", plate)
    scene.wan.span.after, scene.wan.sampling.steps = 4, 2
    assert addon.ops.wan.generate(strip="a") == {"FINISHED"}
    (local,) = part("host.state").host().session.jobs
    assert local.report.max_diff_outside == 0
    assert local.report.mask.frames == 4
    (made,) = [s for s in scene.sequence_editor.strips if s != plate]
    assert (compat.start(made), compat.length(made), made.channel) == (16, 4, 2)
    patch = sorted((local.folder / "result" / "patch").iterdir())
    opacity = [media.read_png(path)[..., 3] for path in patch]
    assert [(a.min(), a.max()) for a in opacity] == [(0, 0)] * 5 + [(255, 255)] * 4
    held = media.frame(4).astype(int)
    assert np.abs(media.read_png(patch[-1])[..., :3] - held).mean() > 1
