# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: one JSON object on stdout, progress on stderr, exit codes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

REPO = Path(__file__).parents[3]
CONFTEST = Path(__file__).parents[1]
ENGINE = Path(os.environ.get("WAN_ENGINE_PYTHON") or REPO / ".venv" / "engine" / "bin" / "python")


def test_done_run_answers_with_folders_and_report(command, tmp_path):
    code, answer, progress = command("--strip", "plate", "--out", tmp_path / "my job")
    assert (code, answer["ok"]) == (0, True)
    assert answer["job"] == str(tmp_path / "my job")
    assert (Path(answer["result"]) / "patch" / "000005.png").exists()
    assert answer["report"]["schema"] == 1
    assert answer["saved"] is None
    assert "export 12/12" in progress or "export" in progress
    assert "denoising" in progress


@pytest.mark.parametrize("model", ["nano/experts", "my/model", None])
def test_model_is_a_bundled_one_or_a_folder(command, part, tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my" / "model").mkdir(parents=True)
    folder = tmp_path / "job"
    named = ["--model", model] if model else []
    code, answer, _ = command("--strip", "plate", "--out", folder, *named)
    assert code == 0, answer
    expected = {"my/model": str(tmp_path / "my" / "model"), None: ""}.get(model, model)
    assert part("core.job").read(folder).model.path == expected


@pytest.fixture
def check(command, monkeypatch):
    """``check(arguments...)``: as ``command``, of check with the real engine."""
    if not ENGINE.exists():
        pytest.skip(f"no engine environment at {ENGINE}")
    monkeypatch.setenv("WAN_ENGINE_PYTHON", str(ENGINE))
    return lambda *arguments: command(*arguments, name="check")


def test_check_answers_what_the_engine_says_of_the_job(check, part, addon, tmp_path):
    options = ("--strip", "plate", "--set", "sampling.steps=3", "--set", "mask.frames=13")
    out = tmp_path / "job"
    code, answer, stderr = check(*options, "--save", tmp_path / "no.blend", "--out", out)
    assert (code, answer["ok"], answer["job"]) == (0, True, str(out)), stderr
    said = answer["check"]
    assert said["mask"]["notes"][-1] == "The mask is there for a single frame at frame 13."
    assert said["mask"]["frames"] == 1
    assert len(said["schedule"]["sigmas"]) == 4
    assert part("core.job").read(out).sampling.steps == 3
    assert not (out / "result").exists()
    assert not (tmp_path / "no.blend").exists()
    assert part("host.state").host().session.jobs == []
    asked = [str(ENGINE), "-m", "wan_blender.engine", "check", str(out)]
    engine = subprocess.run(asked, cwd=REPO, capture_output=True, check=True).stdout
    for part_of_it in ("model", "size", "mask", "schedule"):
        assert said[part_of_it] == json.loads(engine)[part_of_it]


def test_check_leaves_no_folder_and_refuses_as_a_run_would(check, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    code, answer, stderr = check("--strip", "plate")
    assert (code, answer.get("job", "")) == (0, None), stderr
    code, answer, _ = check("--strip", "plate", "--set", "model_mask.strengths=1, 1")
    assert (code, answer["ok"], answer["error"]["code"]) == (2, False, "InvalidJob")
    assert "model_mask.strengths has 2 numbers" in answer["error"]["message"]
    code, answer, _ = check("--strip", "plate", "--set", "mask.frames=90-")
    assert (code, answer["error"]["code"]) == (2, "InvalidJob")
    assert list(scratch.iterdir()) == []
    assert not (tmp_path / "jobs").exists()


def test_pictures_and_the_matte_of_the_model_go_into_the_job(command, part, tmp_path):
    pictures = tmp_path / "ref"
    pictures.mkdir()
    for name in ("b.jpg", "a.png", "notes.txt"):
        (pictures / name).write_bytes(name.encode())
    (tmp_path / "first.webp").write_bytes(b"first")
    style = str(tmp_path / "style.safetensors")
    Path(style).touch()
    folder = tmp_path / "job"
    code, answer, _ = command(
        "--strip", "plate", "--out", folder,
        "--set", f"model_mask.references={pictures}",
        "--set", f"model_mask.start_image={tmp_path / 'first.webp'}",
        "--set", "model_mask.shape=own", "--set", "model_mask.matte=mask:Square",
        "--set", 'prompt.sections=["a kite, high up", "a gull"]',
        "--set", f"loras={json.dumps([{'file': style, 'weight': 0.5}])}",
        "--set", "sampling.sigmas=1, 0.5, 0",
    )  # fmt: skip
    assert code == 0, answer
    pictures = part("core.job_pictures")
    written = part("core.job").read(folder)
    assert written.prompt.sections == ["a kite, high up", "a gull"]
    assert written.loras == [part("core.settings").LoraUse(style, 0.5)]
    assert written.sampling.sigmas == [1, 0.5, 0]
    asked = written.model_mask
    assert (asked.start_image, asked.end_image, asked.references) == (
        "start.webp",
        "",
        "references",
    )
    assert (folder / "start.webp").read_bytes() == b"first"
    found = pictures.pictures(folder, asked, pictures.REFERENCES)
    assert [path.read_bytes() for path in found] == [b"a.png", b"b.jpg"]
    count = len(list((folder / "mask").iterdir()))
    assert len(list((folder / "model_mask").iterdir())) == count


def test_picture_that_is_not_there_is_a_bad_request(command, tmp_path):
    folder = tmp_path / "job"
    missing = tmp_path / "no.png"
    code, answer, _ = command(
        "--strip", "plate", "--out", folder, "--set", f"model_mask.end_image={missing}"
    )
    assert code == 2
    assert f"model_mask.end_image is {str(missing)!r}" in answer["error"]["message"]
    assert not folder.exists()
    code, answer, _ = command("--strip", "plate", "--out", folder, "--set", "model_mask.shape=own")
    assert code == 2
    assert "model_mask.matte" in answer["error"]["message"]


def test_options_reach_the_job_and_not_the_file(command, scene, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("weights").mkdir()
    code, _, _ = command(
        "--strip", "plate", "--prompt", "a kite", "--negative", "blur", "--model", "weights",
        "--set", "sampling.steps=7", "--set", "output.full_frames=true",
        "--matte", "matte:alpha", "--matte", "mask:Square:intersect", "--out", tmp_path / "job",
    )  # fmt: skip
    assert code == 0
    written = part("core.job").read(tmp_path / "job")
    assert (written.prompt.text, written.prompt.negative) == ("a kite", "blur")
    assert (written.sampling.steps, written.output.full_frames) == (7, True)
    assert written.model.path == str(Path("weights").absolute())
    origin = json.loads((tmp_path / "job" / "origin.json").read_text())
    assert origin["choices"]["mattes"] == [
        {"id": "strip:matte", "channel": "alpha", "operation": "add"},
        {"id": "mask:Square", "channel": "luma", "operation": "intersect"},
    ]
    assert scene.wan.prompt.text == ""


def test_with_and_without_hygiene_are_two_takes_that_know_each_other(command, part, tmp_path):
    out = tmp_path / "job"
    code, answer, _ = command(
        "--strip", "plate", "--set", "hygiene.mode=scheduled", "--with-and-without", "--out", out
    )
    assert (code, answer["without"]) == (0, str(tmp_path / "job-without"))
    job = part("core.job")
    assert job.read(out).hygiene.mode == "scheduled"
    assert job.read(tmp_path / "job-without").hygiene.mode == "off"
    assert (out / job.COMPARE_WITH).read_text() == "job-without"


@pytest.mark.parametrize("mode", ["soft", "off"])
def test_hygiene_that_would_do_nothing_is_refused_before_the_export(command, tmp_path, mode):
    out = tmp_path / "job"
    code, answer, _ = command(
        "--strip", "plate", "--set", f"hygiene.mode={mode}", "--with-and-without", "--out", out
    )
    assert (code, answer["error"]["code"]) == (2, "InvalidJob")
    assert not out.exists()


def test_painted_blur_map_goes_into_the_job(command, addon, part, tmp_path):
    plate = addon.context.scene.sequence_editor.strips_all["plate"]
    image = part("host.blur_map").ensure_map(plate, (64, 48))
    image.pixels.foreach_set([0.4] * len(image.pixels))
    code, _, _ = command(
        "--strip", "plate", "--set", "hygiene.mode=soft", "--out", tmp_path / "job"
    )
    assert code == 0
    assert (tmp_path / "job" / part("core.job").RADIUS).exists()


def test_task_and_span_say_which_frames_the_shot_has(command, part, tmp_path):
    out = tmp_path / "job"
    code, _, _ = command(
        "--strip", "plate", "--task", "extend", "--set", "span.after=3", "--out", out,
    )  # fmt: skip
    assert code == 0
    shot = part("core.job").read(out).shot
    assert (shot.frame_start, shot.frame_count) == (11, 9)
    assert len(list((out / "mask").iterdir())) == 9


def test_frame_of_a_still_is_named_on_the_command_line(command, part, tmp_path):
    out = tmp_path / "job"
    code, _, _ = command(
        "--strip", "plate", "--task", "still", "--set", "span.frame=13", "--out", out
    )
    assert code == 0
    shot = part("core.job").read(out).shot
    assert (shot.frame_start, shot.frame_count) == (13, 1)


def test_save_places_the_strip_in_the_saved_file(command, addon, tmp_path):
    saved = tmp_path / "out ü.blend"
    code, answer, _ = command("--strip", "plate", "--prompt", "a kite", "--save", saved)
    assert (code, answer["saved"]) == (0, str(saved))
    addon.ops.wm.open_mainfile(filepath=str(saved))
    strips = addon.context.scene.sequence_editor.strips
    assert [s.name for s in strips if s.type == "IMAGE"] == ["a kite [0]"]


def test_without_save_the_result_is_left_for_the_editor(command, part, addon):
    _, answer, _ = command("--strip", "plate")
    assert part("host.found").read_open_ends(Path(answer["job"]).parent)
    assert not [s for s in addon.context.scene.sequence_editor.strips if s.type == "IMAGE"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], "BadRequest", "--strip"),
        (["--strip", "nowhere"], "NothingSelected", "nowhere"),
        (["--strip", "plate", "--scene", "Elsewhere"], "BadRequest", "Elsewhere"),
        (["--strip", "plate", "--matte", "cloud"], "BadRequest", "cloud"),
        (["--strip", "plate", "--set", "sampling.steps=many"], "InvalidJob", "sampling.steps"),
        (["--strip", "plate", "--set", "sampling.stps=3"], "InvalidJob", "'sampling.steps'?"),
        (["--strip", "plate", "--set", "shot.width=3"], "BadRequest", "written by export"),
        (["--strip", "plate", "--out", __file__], "BadRequest", "A file is where a folder"),
        (["--strip", "plate", "--set", "steps"], "BadRequest", "group.name=value"),
        (["--strip", "plate", "--wrong"], "BadRequest", "--wrong"),
    ],
)
def test_bad_request_exits_2_and_says_what(command, tmp_path, arguments, code, words):
    exit_code, answer, stderr = command(*arguments)
    assert (exit_code, answer["ok"]) == (2, False)
    assert answer["error"]["code"] == code
    assert words in answer["error"]["message"] + answer["error"]["hint"]
    assert words in stderr
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--model", "/nope"], "WeightsMissing", "no model folder /nope (model.path). Choose"),
        (
            ["--set", 'loras=[{"file": "/no.safetensors"}]'],
            "WeightsMissing",
            "no LoRA file '/no.safetensors' (loras[0].file). Choose",
        ),
        (
            ["--set", 'stages=[{"steps": 3}, {"loras": [{}]}]'],
            "WeightsMissing",
            "no LoRA file '' (stages[1].loras[0].file)",
        ),
        (
            ["--set", 'stages=[{"model": "/nope", "steps": 3}, {}]'],
            "WeightsMissing",
            "no model folder /nope (stages[0].model)",
        ),
        (["--set", "stages=[{}, {}]"], "InvalidJob", "neither steps nor an end"),
        (["--set", "mask.frames=900-"], "InvalidJob", "which spans 11 to 16"),
        (["--set", "sampling.sigmas=0.5, 0.9, 0"], "InvalidJob", "0.5, 0.9, 0; expected"),
        (["--save", "/no/folder/x.blend"], "BadRequest", "there is no folder /no/folder. Make it"),
        (["--save", "/tmp"], "BadRequest", "--save /tmp is a folder. Name the .blend"),
    ],
)
def test_what_can_be_known_before_the_export_is_refused_before_it(
    command, tmp_path, arguments, code, words
):
    exit_code, answer, stderr = command("--strip", "plate", *arguments)
    assert (exit_code, answer["exit_code"], answer["error"]["code"]) == (2, 2, code)
    assert words in stderr
    assert "export" not in stderr
    assert not (tmp_path / "jobs").exists()


NO_LORA = '"file": "/no.safetensors"'


@pytest.mark.parametrize(
    "settings",
    [
        [f'loras=[{{{NO_LORA}, "weight": 0}}]'],
        [f'stages=[{{"expert": "low", "loras": [{{{NO_LORA}, "expert": "high"}}]}}]'],
        # a run that begins below where its first stage ends
        [
            "sampling.strength=0.1",
            f'stages=[{{"end": 0.9, "model": "/nope", "loras": [{{{NO_LORA}}}]}}, {{}}]',
        ],
        # a run of a pair that has no step above its boundary
        [
            "model.path=nano/experts", "sampling.strength=0.1",
            f'loras=[{{{NO_LORA}, "expert": "high"}}]',
        ],
    ],
    ids=["strength 0", "other expert", "stage not reached", "expert not reached"],
)  # fmt: skip
def test_what_the_run_does_not_read_may_be_absent(command, settings):
    options = [word for setting in settings for word in ("--set", setting)]
    code, answer, _ = command("--strip", "plate", *options)
    assert (code, answer["ok"]) == (0, True), answer


def test_lora_of_an_expert_that_is_reached_may_not_be_absent(command):
    lora = f'loras=[{{{NO_LORA}, "expert": "low"}}]'
    options = ("--set", "model.path=nano/experts", "--set", lora)
    code, answer, _ = command("--strip", "plate", *options)
    assert (code, answer["ok"]) == (2, False)
    assert "no LoRA file '/no.safetensors'" in answer["error"]["message"]


def test_out_folder_in_use_is_refused_untouched(command, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    code, answer, _ = command("--strip", "plate", "--out", tmp_path)
    assert (code, answer["error"]["code"]) == (2, "BadRequest")
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_failed_run_exits_1_with_the_engines_error(command):
    code, answer, _ = command("--strip", "plate", "--prompt", "fail")
    assert code == 1
    assert answer["error"] == {"code": "OutOfMemory", "message": "Needs 80 GB.", "hint": "Buy."}


def test_bug_exits_1_with_an_answer_and_its_traceback(command, part, monkeypatch):
    monkeypatch.setattr(part("host.properties"), "read_request", lambda *_: {}["bug"])
    code, answer, stderr = command("--strip", "plate")
    assert (code, answer["error"]["code"]) == (1, "EngineError")
    assert "KeyError: 'bug'" in answer["error"]["message"]
    assert "Traceback" in stderr


def test_operator_takes_prompt_mattes_and_folder_and_answers(command, addon, part, scene, capfd):
    out = Path(part("host.preferences").get().jobs) / "mine"
    capfd.readouterr()
    done = addon.ops.wan.generate(
        strip="plate",
        prompt="a kite",
        matte="matte:alpha\nmask:Square:intersect",
        out=str(out),
    )
    assert done == {"FINISHED"}
    answers = [line for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    (told,) = map(json.loads, answers)
    assert told.pop("report")["schema"] == 1
    assert told == {"ok": True, "exit_code": 0, "job": str(out), "result": str(out / "result")}
    assert part("core.job").read(out).prompt.text == "a kite"
    origin = json.loads((out / "origin.json").read_text())
    assert origin["choices"]["mattes"] == [
        {"id": "strip:matte", "channel": "alpha", "operation": "add"},
        {"id": "mask:Square", "channel": "luma", "operation": "intersect"},
    ]
    assert scene.wan.prompt.text == ""
    assert not scene.wan.mattes
    assert [s.name for s in scene.sequence_editor.strips if s.type == "IMAGE"] == ["a kite [0]"]


@pytest.mark.parametrize(
    ("asked", "code", "exit_code"),
    [
        ({"strip": "nowhere"}, "NothingSelected", 2),
        ({"strip": "plate", "matte": "cloud"}, "BadRequest", 2),
        ({"strip": "plate", "out": "/"}, "BadRequest", 2),
        ({"strip": "plate", "prompt": "fail"}, "OutOfMemory", 1),
    ],
)
def test_script_can_tell_errors_of_the_operator_apart(
    command, addon, capfd, asked, code, exit_code
):
    capfd.readouterr()
    with pytest.raises(RuntimeError, match=rf"^Error: {code}: "):
        addon.ops.wan.generate(**asked)
    answers = [line for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    (told,) = map(json.loads, answers)
    assert (told["ok"], told["exit_code"], told["error"]["code"]) == (False, exit_code, code)


def test_bug_in_the_operator_is_answered_too(command, addon, part, monkeypatch, capfd):
    monkeypatch.setattr(part("host.properties"), "read_request", lambda *_: {}["bug"])
    with pytest.raises(RuntimeError, match="KeyError: 'bug'"):
        addon.ops.wan.generate(strip="plate")
    out = capfd.readouterr().out
    (told,) = (json.loads(line) for line in out.splitlines() if line.startswith("{"))
    assert (told["exit_code"], told["error"]["code"]) == (1, "EngineError")


def test_strips_of_one_script_share_an_engine_and_a_bad_one_stops_none(command, part):
    assert command("--strip", "plate")[0] == 0
    pid = part("host.state").host().session.engine.pid
    assert command("--strip", "nowhere")[0] == 2
    assert command("--strip", "plate", "--prompt", "again")[0] == 0
    assert part("host.state").host().session.engine.pid == pid


def test_missing_engine_exits_1(command, tmp_path):
    code, answer, _ = command("--strip", "plate", "--engine", tmp_path / "none")
    assert (code, answer["error"]["code"]) == (1, "EngineMissing")


@pytest.fixture
def start(scene, addon, stub_engine, tmp_path):
    """``start(arguments...)``: the command on the saved file, as a process of its own."""
    blend = tmp_path / "shot.blend"
    addon.ops.wm.save_as_mainfile(filepath=str(blend))
    started = []

    def run(*arguments: object) -> subprocess.Popen:
        child = _start(blend, ["generate", "--strip", "plate", *map(str, arguments)])
        started.append(child)
        return child

    yield run
    for child in started:
        child.kill()
        child.communicate()


def _start(blend: Path, arguments: list[str]) -> subprocess.Popen:
    script = (
        f"import sys; sys.path.insert(0, {str(CONFTEST)!r}); import conftest, bpy, addon_utils\n"
        "addon_utils.enable(conftest.MODULE, default_set=True)\n"
        f"bpy.ops.wm.open_mainfile(filepath={str(blend)!r})\n"
        "from importlib import import_module\n"
        "commands = import_module(conftest.MODULE + '.wan_blender.host.command_line')\n"
        f"code = commands.main({arguments!r})\n"
        "addon_utils.disable(conftest.MODULE)\n"
        "sys.exit(code)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "BLENDER_USER_RESOURCES"}
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _read_until(child: subprocess.Popen, word: str) -> None:
    for line in child.stderr:
        if word in line:
            return
    pytest.fail(f"the command ended before {word!r}")


@pytest.mark.parametrize("phase", ["export", "denoising"])
def test_killed_command_can_be_repeated(start, command, part, tmp_path, phase):
    out = tmp_path / "job"
    child = start("--out", out, "--prompt", "slow", "--set", "hygiene.mode=scheduled")
    _read_until(child, phase)
    child.kill()
    child.wait()
    job = part("core.job")
    assert (out / job.MASK).is_dir()
    assert (out / "job.json").exists() == (phase == "denoising")
    job.request_cancel(out)
    (out / job.COMPARE_WITH).write_text("nowhere")
    (out / "note.txt").write_text("mine")
    code, answer, _ = command("--strip", "plate", "--out", out, "--prompt", "calm")
    assert code == 0, answer
    assert job.read(out).prompt.text == "calm"
    assert job.read_events(out)[0] == "created"
    assert not (out / "cancel").exists()
    assert not (out / job.COMPARE_WITH).exists()
    assert (out / "note.txt").read_text() == "mine"
    code, answer, _ = command("--strip", "plate", "--out", out, "--prompt", "again")
    assert (code, answer["error"]["message"]) == (2, f"{out} holds a result.")
    assert job.read(out).prompt.text == "calm"


def test_killed_pair_of_takes_can_be_repeated(command, part, tmp_path):
    pair = ("--strip", "plate", "--set", "hygiene.mode=scheduled", "--with-and-without")
    out, other = tmp_path / "job", tmp_path / "job-without"
    assert command(*pair, "--out", out)[0] == 0
    shutil.rmtree(out / "result")  # as if it had been killed in the second take
    assert command(*pair, "--out", out)[0] == 0
    assert part("core.result").find_result(out)
    shutil.rmtree(out)
    (other / "origin.json").unlink()
    code, answer, _ = command(*pair, "--out", out)
    assert (code, answer["error"]["message"]) == (2, f"{other} is not empty.")
    assert not out.exists()


def test_job_that_somebody_works_on_is_not_taken_over(command, part, tmp_path):
    out = tmp_path / "job"
    command("--strip", "plate", "--out", out, "--prompt", "fail")
    with part("core.lock").Claim(out):
        code, answer, _ = command("--strip", "plate", "--out", out)
    assert (code, answer["error"]["code"]) == (75, "JobBusy")
    assert part("core.job").read(out).prompt.text == "fail"


def test_ctrl_c_cancels_exits_130_and_leaves_no_process(start, tmp_path):
    child = start("--prompt", "slow")
    _read_until(child, "denoising")
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert json.loads(out.splitlines()[-1])["error"]["code"] == "Cancelled"
    assert "Saved:" not in out  # what Blender prints while it renders
    folders = [p.parent for p in (tmp_path / "wan_jobs").glob("*/job.json")]
    assert len(folders) == 1
    assert not (folders[0] / "result").exists()


@pytest.fixture
def two_plates(scene, part):
    """A second clip beside the first, with a matte of its own over it."""
    compat, strips = part("timeline.compat"), scene.sequence_editor.strips
    other = compat.new_effect(strips, "other", "COLOR", 5, 31, 3)
    other.color = (0.5, 0.1, 0.1)
    mask = strips.new_mask(name="its matte", mask=strips["matte"].mask, channel=6, frame_start=31)
    compat.set_length(mask, 3)
    return other


def test_every_strip_that_is_named_is_run_and_placed(command, addon, two_plates, tmp_path):
    saved, out = tmp_path / "done.blend", tmp_path / "jobs here"
    code, answer, _ = command(
        "--strip", "plate", "--strip", "other", "--strip", "plate", "--out", out, "--save", saved
    )
    assert (code, answer["saved"]) == (0, str(saved))
    assert [job["strip"] for job in answer["jobs"]] == ["plate", "other"]
    assert [Path(job["job"]) for job in answer["jobs"]] == [out / "plate", out / "other"]
    addon.ops.wm.open_mainfile(filepath=str(saved))
    strips = addon.context.scene.sequence_editor.strips_all
    assert len([s for s in strips if s.type == "IMAGE"]) == 2


def test_a_strip_that_cannot_be_run_is_told_before_any_runs(command, two_plates, tmp_path):
    for name in ("generate", "check"):
        code, answer, _ = command(
            "--strip", "plate", "--strip", "nowhere", "--out", tmp_path / "jobs", name=name
        )
        assert (code, answer["error"]["code"]) == (2, "NothingSelected")
    assert not (tmp_path / "jobs").exists()


def test_strips_whose_folders_would_be_one_are_refused(command, two_plates, tmp_path):
    two_plates.name = "plate."
    code, answer, _ = command("--strip", "plate", "--strip", "plate.", "--out", tmp_path / "jobs")
    assert (code, answer["error"]["code"]) == (2, "BadRequest")
    assert "plate, plate." in answer["error"]["message"]


def test_check_tells_of_each_strip(check, two_plates):
    code, answer, _ = check("--strip", "plate", "--strip", "other")
    assert code == 0, answer
    assert [job["check"]["size"]["model_frames"] for job in answer["jobs"]] == [9, 5]


def test_check_refuses_where_nothing_could_be_saved(command, tmp_path):
    nowhere = tmp_path / "nowhere" / "a.blend"
    answers = [
        command("--strip", "plate", "--save", nowhere, name=n)[1] for n in ("check", "generate")
    ]
    assert answers[0]["error"] == answers[1]["error"]


def test_saved_timeline_looks_as_before_when_the_engine_hands_the_plate_back(
    command, addon, scene, part, tmp_path
):
    compat, strips = part("timeline.compat"), scene.sequence_editor.strips
    strips["matte"].mute, strips["plate"].blend_type = True, "SCREEN"
    for frame, opacity in ((11, 1.0), (16, 0.2)):
        strips["plate"].blend_alpha = opacity
        strips["plate"].keyframe_insert("blend_alpha", frame=frame)
    compat.new_effect(strips, "ground", "COLOR", 1, 11, 6).color = (0.4, 0.1, 0.2)
    layer = compat.new_effect(strips, "grade", "ADJUSTMENT", 5, 11, 6)
    layer.modifiers.new("grade", "BRIGHT_CONTRAST").contrast = 30
    before = _rendered(addon.context.scene, compat, tmp_path / "before")
    saved = tmp_path / "done.blend"
    assert command("--strip", "plate", "--save", saved)[0] == 0
    addon.ops.wm.open_mainfile(filepath=str(saved))
    scene = addon.context.scene
    assert scene.sequence_editor.strips_all["plate"].parent_meta() is not None
    assert _rendered(scene, compat, tmp_path / "after") == before
    assert len(set(before)) == 6


def _rendered(scene, compat, folder: Path) -> list[bytes]:
    """The frames of the timeline, as files without dates."""
    import bpy

    compat.write_images(scene)
    scene.render.image_settings.file_format = "BMP"
    scene.render.dither_intensity, scene.frame_start, scene.frame_end = 0, 11, 16
    scene.render.filepath = str(folder / "######")
    bpy.ops.render.render(animation=True)
    return [path.read_bytes() for path in sorted(folder.iterdir())]
