# SPDX-License-Identifier: GPL-3.0-or-later
"""What the timeline does to a clip it does to the result: with an engine that hands the plate back
every frame looks as before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.blender import media
from tests.blender.timeline import identity
from wan_blender.timeline import compat

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
    inner.transform.scale_x, inner.blend_type = 0.5, "ADD"
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
    CASES[name](Stage(timeline))
    before = identity.render(timeline, FRAMES, "before")
    identity.run(timeline, "clip")
    after = identity.render(timeline, FRAMES, "after")
    different = np.abs(after.astype(int) - before)
    if compat.MASK_LACKS_LAST_PIXEL:
        different[:, 0, -1] = 0
    assert not different.any(), [int(d.max()) // 257 for d in different]
