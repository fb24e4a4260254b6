# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Shot panel foretells of a result."""

from tests.blender.drawn import Drawn


def texts(part) -> str:
    return " ".join(Drawn(part("panels.shot").WAN_PT_shot).texts)


def test_shot_panel_says_what_the_result_will_be_like(addon, scene, part):
    strips, compat = scene.sequence_editor.strips, part("timeline.compat")
    assert "lies over it" not in texts(part)
    frames = compat.frames(strips["plate"])
    grade = compat.new_effect(
        strips, "grade", "ADJUSTMENT", strips["plate"].channel + 1, frames.start, len(frames)
    )
    assert "lies over it" not in texts(part)  # the result goes below it
    scene.wan.output.place = "above"
    assert "will look different: 'grade' lies over it" in texts(part)
    strips.remove(grade)
    strips["plate"].mute = True
    assert "'plate' is muted, and so will be its result" in texts(part)


def test_shot_panel_says_why_there_can_be_no_result(addon, scene, part):
    plate = scene.sequence_editor.strips["plate"]
    scene.wan.span.kind, scene.wan.span_plate = "extend", "plate"
    scene.wan.span.after = 4
    frames = part("timeline.compat").frames(plate)
    for frame, value in ((frames.start, 1.0), (frames.stop - 1, 0.0)):
        plate.blend_alpha = value
        plate.keyframe_insert("blend_alpha", frame=frame)
    assert "fades: its opacity is 0.00" in texts(part)
    assert "Remove the fade" in texts(part)
