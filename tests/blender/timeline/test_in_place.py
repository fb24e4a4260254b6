# SPDX-License-Identifier: GPL-3.0-or-later
"""What the timeline does to a clip it does to the result: with an engine that hands the plate back
every frame looks as before."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.blender import media
from tests.blender.timeline import identity
from wan_blender.core.errors import BadRequest
from wan_blender.timeline import compat
from wan_blender.timeline.in_place import _ready
from wan_blender.timeline.mattes import MatteChoice
from wan_blender.timeline.shot import find_plate, read_shot
from wan_blender.timeline.span import Span
from wan_blender.timeline.takes import read_recipe

FRAMES = range(1, 13)
BLENDS = """
REPLACE CROSS DARKEN MULTIPLY BURN LINEAR_BURN LIGHTEN SCREEN DODGE ADD OVERLAY SOFT_LIGHT
HARD_LIGHT VIVID_LIGHT LINEAR_LIGHT PIN_LIGHT DIFFERENCE EXCLUSION SUBTRACT HUE SATURATION COLOR
VALUE ALPHA_OVER ALPHA_UNDER GAMMA_CROSS
"""
CASES: dict[str, Callable[..., None]] = {}


def case(build: Callable[..., None]) -> Callable[..., None]:
    CASES[build.__name__] = build
    return build


def blend_case(kind: str) -> None:
    def build(stage):
        stage.clip.blend_type = kind

    CASES[f"blend_{kind.lower()}"] = build


class Stage:
    """A background on channel 1 and a clip of 8 frames on channel 2, from frame 3 on."""

    def __init__(self, timeline: Any) -> None:
        self.timeline, self.scene, self.strips = timeline, timeline.scene, timeline.strips
        self.name = "clip"
        self.files = media.write_sequence(timeline.folder / "s", 12)
        self.ground = self.image("ground", 1, 1, self.files[::-1])
        self.clip = self.image("clip", 2, 3, self.files[:8])

    def image(self, name: str, channel: int, first: int, files: list, strips=None) -> Any:
        strip = (self.strips if strips is None else strips).new_image(
            name, str(files[0]), channel, first
        )
        for path in files[1:]:
            strip.elements.append(path.name)
        compat.set_length(strip, len(files))
        return strip

    def effect(self, kind: str, channel: int, *inputs: Any, first=3, length=8, strips=None) -> Any:
        return compat.new_effect(
            self.strips if strips is None else strips,
            kind.lower(),
            kind,
            channel,
            first,
            length,
            *inputs,
        )

    def meta(self, name: str, channel: int, *strips: Any) -> Any:
        """A meta strip around ``strips``."""
        first, end = min(map(compat.start, strips)), max(map(compat.end, strips))
        meta = self.strips.new_meta(name, channel, first)
        for strip in strips:
            strip.move_to_meta(meta)
        compat.measure_content(meta)
        compat.set_frames(meta, range(first, end))
        return meta

    def key(self, strip: Any, **values: dict[int, float]) -> None:
        for name, keys in values.items():
            for frame, value in keys.items():
                setattr(strip, name, value)
                strip.keyframe_insert(name, frame=frame)


@case
def plain(stage):
    pass


@case
def opacity_fixed(stage):
    stage.clip.blend_alpha = 0.4


@case
def opacity_keyframed(stage):
    stage.key(stage.clip, blend_alpha={3: 1.0, 10: 0.0})


@case
def opacity_driven(stage):
    driver = stage.clip.driver_add("blend_alpha").driver
    driver.expression = "frame / 12"


for kind in BLENDS.split():
    blend_case(kind)


@case
def cross(stage):
    other = stage.image("other", 3, 7, stage.files[4:10])
    stage.effect("CROSS", 4, stage.clip, other)


@case
def gamma_cross(stage):
    other = stage.image("other", 3, 7, stage.files[4:10])
    stage.effect("GAMMA_CROSS", 4, stage.clip, other)


@case
def wipe(stage):
    other = stage.image("other", 3, 7, stage.files[4:10])
    stage.effect("WIPE", 4, stage.clip, other).angle = 0.4


@case
def cross_into_the_clip(stage):
    other = stage.image("other", 3, 1, stage.files[4:10])
    stage.effect("CROSS", 4, other, stage.clip)


@case
def cross_of_a_trimmed_clip(stage):
    compat.set_frames(stage.clip, range(4, 9))
    other = stage.image("other", 3, 7, stage.files[4:10])
    stage.effect("CROSS", 4, stage.clip, other)


@case
def glow(stage):
    stage.effect("GLOW", 3, stage.clip).threshold = 0.2


@case
def blur(stage):
    stage.effect("GAUSSIAN_BLUR", 3, stage.clip).size_x = 4


@case
def speed(stage):
    effect = stage.effect("SPEED", 3, stage.clip)
    effect.speed_control, effect.speed_factor = "MULTIPLY", 2.0


@case
def speed_of_a_trimmed_clip(stage):
    compat.set_frames(stage.clip, range(5, 9))
    effect = stage.effect("SPEED", 3, stage.clip)
    effect.speed_control, effect.speed_factor = "MULTIPLY", 2.0


@case
def transform_effect(stage):
    if "TRANSFORM" not in effect_kinds(stage):
        pytest.skip("5.x has no Transform effect")
    stage.effect("TRANSFORM", 3, stage.clip).rotation_start = 20


@case
def alpha_over_effect(stage):
    other = stage.image("other", 3, 3, stage.files[4:12])
    stage.effect("ALPHA_OVER", 4, stage.clip, other).blend_alpha = 0.5


@case
def multiply_effect(stage):
    other = stage.image("other", 3, 3, stage.files[4:12])
    stage.effect("MULTIPLY", 4, stage.clip, other)


@case
def effect_of_an_effect(stage):
    blurred = stage.effect("GAUSSIAN_BLUR", 3, stage.clip)
    blurred.size_x = 3
    stage.effect("GLOW", 4, blurred)


@case
def the_effect_itself_under_a_grade(stage):
    stage.clip.name = "input"
    blurred = stage.effect("GAUSSIAN_BLUR", 3, stage.clip)
    blurred.size_x, blurred.name = 3, "clip"
    grade(stage, 4)


def grade(stage, channel: int, strips=None) -> Any:
    layer = stage.effect("ADJUSTMENT", channel, strips=strips)
    modifier = layer.modifiers.new("grade", "BRIGHT_CONTRAST")
    modifier.bright, modifier.contrast = 12, 40
    return layer


@case
def adjustment_above(stage):
    grade(stage, 3)


@case
def adjustment_two_above(stage):
    grade(stage, 4)


@case
def title_above(stage):
    stage.effect("TEXT", 3).text = "TITLE"


@case
def picture_with_opacity_above(stage):
    stage.image("other", 3, 3, stage.files[4:12]).blend_alpha = 0.5


@case
def mask_as_a_vignette(stage):
    mask = stage.timeline.add_mask(3, 3, 8, ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)))
    mask.blend_type = "MULTIPLY"


@case
def multicam(stage):
    stage.effect("MULTICAM", 4).multicam_source = 2


@case
def modifiers(stage):
    modifier = stage.clip.modifiers.new("grade", "BRIGHT_CONTRAST")
    modifier.bright = 10
    curves = stage.clip.modifiers.new("curves", "CURVES")
    curves.curve_mapping.curves[0].points.new(0.3, 0.7)
    curves.curve_mapping.update()
    balance = stage.clip.modifiers.new("balance", "COLOR_BALANCE")
    balance.color_balance.gain = (1.2, 0.9, 1.0)
    stage.clip.modifiers.new("tones", "TONEMAP")


@case
def modifier_keyframed(stage):
    modifier = stage.clip.modifiers.new("grade", "BRIGHT_CONTRAST")
    for frame, value in ((3, 0.0), (10, 40.0)):
        modifier.bright = value
        modifier.keyframe_insert("bright", frame=frame)


@case
def modifier_with_a_mask(stage):
    mask = stage.timeline.make_mask(((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)))
    modifier = stage.clip.modifiers.new("grade", "BRIGHT_CONTRAST")
    modifier.bright, modifier.input_mask_type, modifier.input_mask_id = 30, "ID", mask
    modifier.mask_time = "RELATIVE"


@case
def clip_as_the_mask_of_another(stage):
    modifier = stage.ground.modifiers.new("grade", "BRIGHT_CONTRAST")
    modifier.bright, modifier.input_mask_type = 30, "STRIP"
    modifier.input_mask_strip = stage.clip
    stage.clip.blend_alpha = 0.5


@case
def in_a_meta(stage):
    outer = stage.meta("outer", 5, stage.clip)
    grade(stage, 3, outer.strips)
    outer.blend_type, outer.blend_alpha = "SCREEN", 0.7
    grade(stage, 6)


@case
def in_nested_trimmed_metas(stage):
    inner = stage.meta("inner", 5, stage.clip)
    stage.clip.blend_alpha = 0.6
    outer = stage.meta("outer", 6, inner)
    inner.transform.scale_x, inner.blend_alpha = 0.5, 0.8
    compat.set_frames(outer, range(5, 9))
    stage.key(outer, blend_alpha={5: 1.0, 9: 0.2})
    stage.effect("GAUSSIAN_BLUR", 7, outer).size_x = 2


@case
def in_a_meta_with_keyframes(stage):
    outer = stage.meta("outer", 5, stage.clip)
    for frame, value in ((3, 0.0), (10, 30.0)):
        outer.transform.offset_x = value
        outer.transform.keyframe_insert("offset_x", frame=frame)


@case
def transformed_with_keyframes(stage):
    for frame, value in ((3, 0.0), (10, 30.0)):
        stage.clip.transform.offset_x = value
        stage.clip.transform.keyframe_insert("offset_x", frame=frame)
    stage.clip.blend_alpha = 0.5


@case
def scene_strip(stage):
    scene = stage.timeline.bpy.data.scenes.new("inner")
    scene.render.resolution_x, scene.render.resolution_y = 64, 48
    strips = scene.sequence_editor_create().strips
    stage.image("picture", 1, 1, stage.files[:8], strips)
    stage.strips.remove(stage.clip)
    scene.frame_start, scene.frame_end = 1, 8
    strip = stage.strips.new_scene("clip", scene, 2, 3)
    strip.scene_input, strip.blend_type = "SEQUENCER", "LIGHTEN"
    compat.set_length(strip, 8)
    grade(stage, 3)


@case
def one_picture_held(stage):
    stage.strips.remove(stage.clip)
    stage.clip = stage.image("clip", 2, 3, stage.files[4:5])
    compat.set_frames(stage.clip, range(3, 11))
    stage.key(stage.clip, blend_alpha={3: 0.0, 6: 1.0, 10: 0.3})


@case
def last_picture_held(stage):
    compat.set_frames(stage.clip, range(5, 12))
    stage.clip.blend_type = "OVERLAY"


@case
def a_meta_strip_itself(stage):
    stage.clip.name = "inside"
    outer = stage.meta("clip", 3, stage.clip)
    grade(stage, 5, outer.strips)
    outer.blend_type, outer.blend_alpha = "HARD_LIGHT", 0.8
    stage.effect("GAUSSIAN_BLUR", 6, outer).size_x = 3


@case
def dissolves_at_both_ends(stage):
    before = stage.image("first", 3, 1, stage.files[4:8])
    after = stage.image("last", 4, 8, stage.files[2:7])
    stage.effect("CROSS", 5, before, stage.clip)
    stage.effect("GAMMA_CROSS", 6, stage.clip, after)


@case
def both_inputs_of_one_effect(stage):
    stage.effect("ADD", 3, stage.clip, stage.clip)


@case
def colours_crop_and_flip(stage):
    clip = stage.clip
    clip.color_saturation, clip.color_multiply, clip.use_flip_x = 0.4, 1.3, True
    clip.crop.min_x, clip.crop.max_y, clip.transform.offset_y = 9, 5, -4
    clip.blend_type = "LIGHTEN"


@case
def rotated_and_scaled(stage):
    stage.clip.transform.rotation, stage.clip.transform.scale_x = 0.4, 0.7
    stage.clip.blend_alpha = 0.6
    grade(stage, 3)


@case
def linear_timeline(stage):
    stage.scene.sequencer_colorspace_settings.name = "Linear Rec.709"
    stage.clip.blend_alpha = 0.5


@case
def colour_strip(stage):
    stage.strips.remove(stage.clip)
    colour = stage.effect("COLOR", 2)
    colour.name, colour.color, colour.blend_type = "clip", (0.2, 0.6, 0.4), "MULTIPLY"
    stage.effect("GLOW", 3, colour)


@case
def movie_with_an_unusual_name(stage):
    movie = media.encode(stage.timeline.bpy, stage.files[:8], stage.timeline.folder / "c.mkv")
    stage.strips.remove(stage.clip)
    clip = stage.strips.new_movie('a "b\\c" [1].blend_alpha', str(movie), 2, 3)
    stage.key(clip, blend_alpha={3: 1.0, 10: 0.1})
    clip.blend_type, stage.clip = "SCREEN", clip
    stage.name = clip.name


@case
def compositor_modifier(stage):
    if not compat.NODE_GROUP:
        pytest.skip("4.5 has no compositor modifier")
    tree = stage.timeline.bpy.data.node_groups.new("invert", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="INPUT", socket_type="NodeSocketColor")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    source, target = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    invert = tree.nodes.new("CompositorNodeInvert")
    tree.links.new(source.outputs[0], invert.inputs["Color"])
    tree.links.new(invert.outputs[0], target.inputs[0])
    stage.clip.modifiers.new("nodes", "COMPOSITOR").node_group = tree
    stage.clip.blend_alpha = 0.7


@case
def mask_strip_that_is_no_matte_of_the_shot(stage):
    """It hides all below, as a matte that was left on does, but is meant to."""
    stage.timeline.add_mask(3, 3, 8, ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)))


@case
def opacity_in_the_nla(stage):
    stage.key(stage.clip, blend_alpha={3: 0.3, 10: 1.0})
    data = stage.scene.animation_data
    data.nla_tracks.new().strips.new("fade", 1, data.action)
    data.action = None


@case
def retimed(stage):
    stage.strips.remove(stage.clip)
    movie = media.encode(stage.timeline.bpy, stage.files, stage.timeline.folder / "clip.mkv")
    clip = stage.strips.new_movie("clip", str(movie), 2, 3)
    double_speed(stage, clip)
    clip.blend_alpha = 0.5


def double_speed(stage, clip: Any) -> None:
    clip.select, stage.scene.sequence_editor.active_strip = True, clip
    with stage.timeline.editor_area("SEQUENCE_EDITOR"):
        stage.timeline.bpy.ops.sequencer.retiming_segment_speed_set(speed=200.0)


@case
def reversed_and_trimmed(stage):
    stage.clip.use_reverse_frames = True
    compat.set_frames(stage.clip, range(5, 9))
    stage.clip.blend_type = "ADD"


@case
def muted(stage):
    stage.clip.mute = True


@case
def mute_keyframed(stage):
    for frame, value in ((3, False), (6, True)):
        stage.clip.mute = value
        stage.clip.keyframe_insert("mute", frame=frame)


@case
def muted_channel(stage):
    stage.scene.sequence_editor.channels[2].mute = True


@case
def locked_channels(stage):
    for channel in (2, 3):
        stage.scene.sequence_editor.channels[channel].lock = True
    stage.clip.lock = True
    stage.clip.blend_alpha = 0.5


@case
def muted_channel_above(stage):
    stage.scene.sequence_editor.channels[3].mute = True
    grade(stage, 4)


@case
def hard_alpha(stage):
    with_alpha(stage, lambda ramp: np.where(ramp > 100, 255, 0))


@case
def soft_alpha(stage):
    with_alpha(stage, lambda ramp: ramp)


@case
def soft_alpha_keyframed_under_a_grade(stage):
    with_alpha(stage, lambda ramp: ramp)
    opacity_keyframed(stage)
    grade(stage, 3)


@case
def soft_alpha_on_one_frame(stage):
    with_alpha(stage, lambda ramp: ramp, only=3)


def with_alpha(stage, alpha: Callable, only: int | None = None) -> None:
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    for index, path in enumerate(stage.files[:8]):
        if only in (None, index):
            picture = media.frame(index)
            values = alpha(ramp).astype(np.uint8)[..., None]
            media.write_png(path.with_name(f"alpha{index}.png"), np.dstack([picture, values]))
            stage.clip.elements[index].filename = f"alpha{index}.png"


@case
def text_itself(stage):
    stage.strips.remove(stage.clip)
    text = stage.effect("TEXT", 2)
    text.name, text.text, text.font_size = "clip", "TITLE", 20
    stage.key(text, blend_alpha={3: 0.0, 10: 1.0})


def effect_kinds(stage) -> list[str]:
    function = stage.strips.bl_rna.functions["new_effect"]
    return [item.identifier for item in function.parameters["type"].enum_items]


@pytest.mark.parametrize("name", CASES)
def test_timeline_looks_the_same_after_a_run(timeline, name):
    stage = Stage(timeline)
    CASES[name](stage)
    before = identity.render(timeline, FRAMES, "before")
    identity.run(timeline, stage.name)
    after = identity.render(timeline, FRAMES, "after")
    different = np.abs(after.astype(int) - before)
    if compat.MASK_LACKS_LAST_PIXEL:
        different[:, 0, -1] = 0
    assert not different.any(), [int(d.max()) // 257 for d in different]


SEEN = """
plain opacity_fixed blend_screen cross glow speed adjustment_above modifiers in_a_meta
in_nested_trimmed_metas scene_strip retimed locked_channels soft_alpha hard_alpha text_itself
"""


def alone(name):
    return pytest.param(name, marks=pytest.mark.own_process) if name.startswith("text") else name


@pytest.mark.parametrize("name", [alone(name) for name in SEEN.split()])
def test_another_picture_is_seen_where_the_clip_is(timeline, name):
    CASES[name](Stage(timeline))
    before = identity.render(timeline, FRAMES, "before")
    identity.run(timeline, "clip", change=lambda frame: [255, 255, 255, 0] - frame)
    after = identity.render(timeline, FRAMES, "after")
    changed = [frame for frame, a, b in zip(FRAMES, before, after) if (a != b).any()]
    assert len(changed) >= 4


def snapshot(owner: Any, depth: int = 0) -> Any:
    """All RNA properties of a scene's timeline, with those of the strips and modifiers in it."""
    told = {}
    for rna in owner.bl_rna.properties:
        name = rna.identifier
        with warnings.catch_warnings(action="ignore"):  # 5.2 calls the names of 4.5 deprecated
            value = getattr(owner, name, None)
        if rna.type == "COLLECTION":
            told[name] = [snapshot(item, depth + 1) for item in value] if depth < 6 else len(value)
        elif rna.type == "POINTER":
            inner = value is not None and name in ("transform", "crop", "proxy", "text", "curve")
            told[name] = snapshot(value, depth + 1) if inner else getattr(value, "name", None)
        elif name not in ("session_uid", "rna_type"):
            told[name] = list(value) if getattr(rna, "is_array", False) else value
    return told


def curves(scene: Any) -> Any:
    data = scene.animation_data
    told = compat.fcurves(data) if data else []
    return [(c.data_path, [tuple(key.co) for key in c.keyframe_points]) for c in told]


@pytest.mark.parametrize(
    "name", ["opacity_keyframed", "cross", "modifiers", "in_nested_trimmed_metas"]
)
def test_one_undo_gives_the_timeline_back(timeline, bpy, name):
    CASES[name](Stage(timeline))
    bpy.ops.ed.undo_push(message="before")
    scene = timeline.scene
    before = snapshot(scene.sequence_editor), curves(scene)
    identity.run(timeline, "clip")
    bpy.ops.ed.undo_push(message="placed")
    scene = bpy.context.scene
    assert (snapshot(scene.sequence_editor), curves(scene)) != before
    bpy.ops.ed.undo()
    scene = bpy.context.scene
    assert (snapshot(scene.sequence_editor), curves(scene)) == before


def test_second_run_goes_into_the_same_meta_strip(timeline):
    stage = Stage(timeline)
    grade(stage, 3)
    before = identity.render(timeline, FRAMES, "before")
    first = identity.run(timeline, "clip").parent_meta()
    compat.set_frames(first, range(4, 9))
    shorter = identity.render(timeline, FRAMES, "shorter")
    second = identity.run(timeline, "clip")
    assert second.parent_meta() == first
    assert [part.name for part in first.strips] == ["clip", "patch", "patch.001"]
    assert compat.frames(second) == range(4, 9)
    after = identity.render(timeline, FRAMES, "after")
    np.testing.assert_array_equal(after, shorter)
    assert (shorter != before).any()


def test_takes_have_what_the_clip_had(timeline):
    stage = Stage(timeline)
    stage.clip.blend_type, stage.clip.color_tag = "SCREEN", "COLOR_03"
    stage.clip.modifiers.new("grade", "BRIGHT_CONTRAST")
    compat.set_frames(stage.clip, range(5, 9))
    stage.scene.sequence_editor.active_strip, stage.clip.select = stage.clip, True
    takes = identity.run(timeline, "clip").parent_meta()
    assert (takes.channel, compat.frames(takes)) == (2, range(5, 9))
    assert (takes.blend_type, takes.color_tag) == ("SCREEN", "COLOR_03")
    assert [modifier.name for modifier in takes.modifiers] == ["grade"]
    assert not timeline.scene.sequence_editor.strips_all["clip"].modifiers
    assert timeline.scene.sequence_editor.active_strip == takes
    assert takes.select
    assert find_plate(timeline.scene).name == "clip"
    assert read_recipe(takes)["job"]["shot"]["strip"] == "clip"


@pytest.mark.skipif("not compat.NEW_TIMES", reason="4.5 does not tell what is connected")
@pytest.mark.parametrize("inside", [False, True])
def test_takes_stay_connected_to_the_sound(timeline, bpy, inside):
    stage = Stage(timeline)
    grade(stage, 5)
    sound = stage.strips.new_sound("sound", str(media.write_tone(timeline.folder / "a.wav")), 3, 3)
    outer = stage.meta("outer", 7, stage.clip, sound) if inside else None
    stage.clip.blend_alpha = 0.5
    with _ready(timeline.scene.sequence_editor, outer, sound, [stage.clip, sound]):
        bpy.ops.sequencer.connect(toggle=False)
    takes = identity.run(timeline, "clip").parent_meta()
    assert takes.parent_meta() == outer
    assert [strip.name for strip in takes.connections] == ["sound"]
    assert [strip.name for strip in sound.connections] == [takes.name]


def test_handles_of_the_takes_bring_hidden_frames_back(timeline):
    stage = Stage(timeline)
    compat.set_frames(stage.clip, range(5, 9))
    grade(stage, 3)
    takes = identity.run(timeline, "clip").parent_meta()
    compat.set_frames(takes, range(3, 11))
    stage.scene.sequence_editor.strips["adjustment"].mute = True
    shown = identity.render(timeline, range(3, 4), "pulled")[0]
    np.testing.assert_array_equal(np.rint(shown / 257), media.frame(0))


def test_a_strip_above_is_still_to_be_had(timeline):
    stage = Stage(timeline)
    grade(stage, 3)
    patch = identity.run(timeline, "clip", where="above")
    assert patch.parent_meta() is None
    assert patch.channel == 4


def test_matte_of_a_modifier_keeps_the_modifiers_on_the_clip(timeline):
    stage = Stage(timeline)
    modifier_with_a_mask(stage)
    patch = identity.run(timeline, "clip", matte="modifier:grade")
    assert [m.name for m in patch.parent_meta().strips["clip"].modifiers] == ["grade"]


def test_effect_whose_input_is_seen_elsewhere_is_refused_by_name(timeline):
    stage = Stage(timeline)
    cross(stage)
    stage.strips["cross"].name = "dissolve"
    grade(stage, 5)
    with pytest.raises(BadRequest, match=r"'dissolve'.*'clip' is also shown outside.*'adjustment'"):
        identity.run(timeline, "dissolve")


EXTENDED = Span("extend", after=4, context=3)


def test_extended_clip_passes_through_what_it_passed_through(timeline):
    stage = Stage(timeline)
    compat.set_frames(stage.clip, range(3, 8))
    stage.effect("GAUSSIAN_BLUR", 3, stage.clip).size_x = 5
    before = identity.render(timeline, range(1, 8), "before")
    takes = identity.run(timeline, "clip", span=EXTENDED, matte="empty").parent_meta()
    assert compat.frames(takes) == range(3, 12)
    after = identity.render(timeline, range(1, 12), "after")
    np.testing.assert_array_equal(after[:7], before)
    np.testing.assert_array_equal(after[7], after[6])  # the stub holds the last picture: blurred


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (opacity_keyframed, r"'clip' fades: its opacity is 0.00 on frame 10"),
        (cross, r"'clip' goes into 'cross' at frame 10"),
        (lambda stage: next_clip(stage), r"'next' is on channel 2 between frames 11 and 14"),
    ],
)
def test_extension_that_cannot_follow_on_is_refused_by_name(timeline, build, words):
    build(Stage(timeline))
    with pytest.raises(BadRequest, match=words):
        identity.run(timeline, "clip", span=EXTENDED, matte="empty")


def next_clip(stage) -> None:
    stage.image("next", 2, 12, stage.files[:2])
    grade(stage, 3)


def bridged(stage, gap: int) -> Any:
    compat.set_frames(stage.clip, range(3, 7))
    return stage.image("next", 2, 7 + gap, stage.files[6:10])


@pytest.mark.parametrize("gap", [0, 2])
def test_bridge_changes_its_own_frames_only(timeline, gap):
    stage = Stage(timeline)
    bridged(stage, gap)
    before = identity.render(timeline, FRAMES, "before")
    identity.run(timeline, "clip", span=Span("bridge", cut=2, context=2), matte="empty")
    after = identity.render(timeline, FRAMES, "after")
    changed = [frame for frame, a, b in zip(FRAMES, before, after) if (a != b).any()]
    assert set(changed) <= {7, 8} if gap else set(changed) <= {6, 7}


def test_bridge_over_a_dissolve_changes_its_own_frames_only(timeline):
    stage = Stage(timeline)
    other = stage.image("next", 3, 9, stage.files[6:12])
    stage.effect("CROSS", 4, stage.clip, other)
    before = identity.render(timeline, FRAMES, "before")
    span = Span("bridge", other="next", cut=2, context=2)
    identity.run(timeline, "clip", span=span, matte="empty")
    after = identity.render(timeline, FRAMES, "after")
    changed = [frame for frame, a, b in zip(FRAMES, before, after) if (a != b).any()]
    assert set(changed) <= {8, 9, 10, 11}


def faded(stage) -> None:
    bridged(stage, 2)
    stage.key(stage.clip, blend_alpha={3: 1.0, 6: 0.0})


def screened(stage) -> None:
    bridged(stage, 2).blend_type = "SCREEN"


def glowing(stage) -> None:
    bridged(stage, 2)
    stage.effect("GLOW", 3, stage.clip)


def cut_under_a_grade(stage) -> None:
    bridged(stage, 0)
    grade(stage, 3)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (faded, r"'clip' (fades|has)"),
        (screened, r"'next' has blend mode Screen"),
        (glowing, r"'glow' takes 'clip' as input at frame 6"),
        (cut_under_a_grade, r"above 'adjustment'.*[\n ]Move 'adjustment' up to channel 5"),
    ],
)
def test_bridge_that_would_look_different_is_refused_by_name(timeline, build, words):
    build(Stage(timeline))
    with pytest.raises(BadRequest, match=words):
        identity.run(timeline, "clip", span=Span("bridge", cut=2, context=2), matte="empty")


def test_muted_clips_and_strips_above_are_told_of_before_the_run(timeline):
    stage = Stage(timeline)
    choice = [MatteChoice("whole")]
    assert read_shot(timeline.scene, stage.clip, choice).notes == []
    grade(stage, 3)
    assert read_shot(timeline.scene, stage.clip, choice).notes == []
    (note,) = read_shot(timeline.scene, stage.clip, choice, place="above").notes
    assert "'clip'" in note
    assert "'adjustment' lies over it" in note
    stage.clip.mute = True
    (note,) = read_shot(timeline.scene, stage.clip, choice).notes
    assert "'clip' is muted" in note
