# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever asks for a job, a click, a script or the command line, is refused in the same words."""

import json
import os

import pytest


@pytest.fixture
def ask(addon, scene, part, stub_engine, tmp_path, capfd):
    """``ask(way)``: the error that asking in this way gives, as a dict."""
    part("host.preferences").get().jobs = str(tmp_path / "jobs")
    scene.wan.hygiene.mode = "scheduled"  # so that there is something to compare
    for strip in scene.sequence_editor.strips:
        strip.select = strip.name == "plate"

    def on_the_command_line(name: str) -> dict:
        stdout = os.dup(1)
        try:
            assert part("host.command_line").main([name, "--strip", "plate"]) > 0
        finally:
            os.dup2(stdout, 1)  # the command keeps it to the end of the process
            os.close(stdout)
        return json.loads(capfd.readouterr().out.splitlines()[-1])["error"]

    def run_again() -> None:
        strips, times = scene.sequence_editor.strips, {"channel": 9, "frame_start": 11}
        if addon.app.version >= (5, 2, 0):
            times["length"] = 6
        else:
            times["frame_end"] = 17
        result = strips.new_effect(name="result", type="COLOR", **times)
        settings, schema = part("host.properties").read(scene), part("core.schema")
        settings.shot = part("core.settings").Shot(
            strip="plate", width=64, height=48, frame_start=11, frame_count=6, fps_num=24
        )
        span = schema.to_dict(part("timeline.span").Span())
        recipe = {"job": schema.to_dict(settings), "mattes": [], "span": span}
        result[part("timeline.place").RECIPE] = json.dumps(recipe)
        scene.sequence_editor.active_strip = result
        addon.ops.wan.run_again()

    operators = {
        "click": addon.ops.wan.generate,
        "script": lambda: addon.ops.wan.generate(strip="plate"),
        "task": lambda: addon.ops.wan.setup_task(task="replace", run_at_once=True),
        "pair": addon.ops.wan.compare_hygiene,
        "again": run_again,
    }

    def ask(way: str) -> dict:
        if way not in operators:
            return on_the_command_line(way)
        with pytest.raises(RuntimeError):
            operators[way]()
        return part("host.state").host().session.error.to_dict()

    return ask


WAYS = ("click", "script", "task", "pair", "again", "generate", "check")
FAULTS = {
    "no matte": ("EmptyMask", lambda scene: scene.sequence_editor.strips.remove(
        scene.sequence_editor.strips["matte"])),
    "small canvas": ("SizeMismatch", lambda scene: setattr(scene.render, "resolution_y", 8)),
    "no map": ("InvalidJob", lambda scene: setattr(scene.wan.hygiene, "mode", "soft")),
    "no model": ("WeightsMissing", lambda scene: setattr(scene.wan.model, "path", "/nope")),
    "frames": ("InvalidJob", lambda scene: setattr(scene.wan.mask, "frames", "900-")),
    "no picture": (None, lambda scene: setattr(scene.wan.model_mask, "start_image", "/no.png")),
    "no stage": ("InvalidJob", lambda scene: [scene.wan.stages.add() for _ in range(2)]),
    "no model matte": ("BadRequest", lambda scene: setattr(scene.wan.model_mask, "shape", "own")),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_gives_one_error_whatever_asks(ask, scene, part, tmp_path, fault):
    code, make = FAULTS[fault]
    make(scene)
    first, *others = [ask(way) for way in WAYS]
    assert code in (None, first["code"])
    assert first["message"]
    for way, other in zip(WAYS[1:], others):
        assert other == first, way
    assert not part("host.state").host().session.jobs
    assert not list(tmp_path.glob("jobs/*"))


def test_without_an_engine_every_way_says_so(ask, part):
    part("host.preferences").get().python = "/none"
    errors = [ask(way) for way in WAYS]
    assert errors[0]["code"] == "EngineMissing"
    assert all(error == errors[0] for error in errors)


def test_what_the_export_writes_cannot_be_asked_for(scene, part):
    request, errors = part("host.request"), part("core.errors")
    with pytest.raises(errors.BadRequest, match=r"^shot.width is written by export"):
        request.read(scene, "plate", request.Overrides([("shot.width", 3)]))


def test_overrides_change_the_run_and_not_the_scene(scene, part):
    request = part("host.request")
    wanted = [("sampling.steps", "3"), ("span.kind", "extend"), ("span.after", "2")]
    asked = request.read(scene, "plate", request.Overrides(wanted, ["matte:alpha"]))
    assert (asked.settings.sampling.steps, asked.shot.frame_count) == (3, 8)
    assert asked.shot.mattes[0].channel == "alpha"
    assert scene.wan.sampling.steps != 3
    assert request.read(scene, "plate").shot.frame_count == 6
