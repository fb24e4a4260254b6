# SPDX-License-Identifier: GPL-3.0-or-later
"""export and batch: many shots from several files, exported once, refused before anything is."""

import json
import os
import shutil
from pathlib import Path

import pytest

REPO = Path(__file__).parents[3]
ENGINE = Path(os.environ.get("WAN_ENGINE_PYTHON") or REPO / ".venv" / "engine" / "bin" / "python")


@pytest.fixture
def blend(addon, scene, tmp_path):
    """The scene of one plate in a file, which is open."""
    path = tmp_path / "one.blend"
    addon.ops.wm.save_as_mainfile(filepath=str(path))
    return path


@pytest.fixture
def export(command, blend, tmp_path):
    """``export(manifest, arguments...)``: code, answer and stderr, into the folder b."""

    def run(manifest: str, *arguments: object, name: str = "export"):
        (tmp_path / "batch.toml").write_text(manifest)
        out = ("--batch", tmp_path / "batch.toml", "--out", tmp_path / "b")
        return command(*out, *arguments, name=name)

    return run


def jobs_in(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/job.json"))


def counts(answer) -> dict[str, int]:
    return {name: count for name, count in answer["jobs"].items() if count}


TWO_SEEDS = '[matrix]\nseeds = [1, 2]\n[[shots]]\nstrip = "plate"\nprompt = "a kite"\n'


def test_seeds_share_one_export(export, part, tmp_path):
    code, answer, stderr = export(TWO_SEEDS)
    assert (code, counts(answer)) == (0, {"made": 2}), stderr
    one, two = jobs_in(tmp_path / "b")
    jobs = part("core.job")
    assert [jobs.read(job).sampling.seed for job in (one, two)] == [1, 2]
    assert jobs.read(one).prompt.text == "a kite"
    assert jobs.read(one).shot.frame_count == 6
    for name in ("plate", "mask"):
        files = sorted((one / name).iterdir())
        assert len(files) == 6
        assert all(os.path.samefile(file, two / name / file.name) for file in files)
    part("host.jobs").read_folder(one)  # what the Blender of an editor reads
    note = part("farm.exports").read_note(two)
    assert (note.shot, note.varied) == ("plate", {"sampling.seed": 2})


def test_repeated_export_makes_what_is_missing(export, part, addon, blend, tmp_path):
    export(TWO_SEEDS)
    one, two = jobs_in(tmp_path / "b")
    (one / "result").mkdir()
    (one / "result" / "report.json").write_text("{}")
    before = (two / "plate" / "000000.png").stat().st_ino
    code, answer, _ = export(TWO_SEEDS.replace("[1, 2]", "[1, 2, 3]"))
    assert (code, counts(answer)) == (0, {"made": 1, "kept": 1, "done": 1})
    assert (two / "plate" / "000000.png").stat().st_ino == before
    scene = addon.data.scenes[0]
    scene.sequence_editor.strips_all["plate"].color = (1, 0, 0)
    addon.ops.wm.save_mainfile()
    code, answer, stderr = export(TWO_SEEDS)
    assert counts(answer) == {"made": 1, "done": 1, "changed": 1}
    assert "done before their .blend was changed" in stderr
    assert (two / "plate" / "000000.png").stat().st_ino != before


def test_disk_without_hard_links_gets_copies(export, tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert export(TWO_SEEDS)[0] == 0
    one, two = jobs_in(tmp_path / "b")
    first, second = one / "plate" / "000000.png", two / "plate" / "000000.png"
    assert not os.path.samefile(first, second)
    assert first.read_bytes() == second.read_bytes()


def test_copy_that_was_cut_off_is_seen(export, part, tmp_path):
    export(TWO_SEEDS)
    job = jobs_in(tmp_path / "b")[0]
    exports, errors = part("farm.exports"), part("core.errors")
    exports.check_frames(job, hashes=True)
    copied = shutil.copytree(job, tmp_path / "copy")
    frame = copied / "mask" / "000003.png"
    whole = frame.read_bytes()
    frame.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    exports.check_frames(copied)
    with pytest.raises(errors.InvalidJob, match=r"000003.png was changed"):
        exports.check_frames(copied, hashes=True)
    frame.write_bytes(whole[:-5])
    with pytest.raises(errors.InvalidJob, match=r"000003.png has \d+ bytes instead of"):
        exports.check_frames(copied)
    frame.unlink()
    with pytest.raises(errors.InvalidJob, match="No such file"):
        exports.check_frames(copied)


def test_shots_of_several_files_and_scenes(export, addon, blend, part, tmp_path):
    addon.data.scenes[0].name = "Other"
    addon.ops.wm.save_as_mainfile(filepath=str(tmp_path / "two.blend"))
    addon.ops.wm.open_mainfile(filepath=str(blend))
    code, answer, stderr = export(
        '[[shots]]\nstrip = "plate"\ntask = "still"\nsettings.span.frame = 13\n'
        '[[shots]]\nstrip = "plate"\nblend = "two.blend"\nscene = "Other"\n'
        'mattes = ["mask:Square:add"]\n[[shots]]\nblend = "one.blend"\nstrip = "plate"\n'
    )
    assert (code, counts(answer)) == (0, {"made": 3}), stderr
    made = [part("core.job").read(job) for job in jobs_in(tmp_path / "b")]
    assert sorted((job.shot.scene, job.shot.frame_count) for job in made) == [
        ("Other", 6), ("Scene", 1), ("Scene", 6),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "line", "words"),
    [
        ('strip = "nowhere"', 4, "no strip 'nowhere'"),
        ('strip = "plate"\nscene = "Elsewhere"', 4, "no scene 'Elsewhere'"),
        ('strip = "plate"\nmattes = ["cloud"]', 4, "cloud"),
        ('strip = "plate"\ntask = "dance"', 4, "no task 'dance'"),
        ('strip = "plate"\nsettings.span.before = -3', 4, "before is -3"),
        ('strip = "plate"\nmatrix.models = ["no/model"]', 4, "no model folder"),
        ('strip = "plate"\nsettings.sampling.steps = -3', 5, "steps is -3"),
        ('strip = "plate"\nblend = "no.blend"', 5, "no.blend"),
    ],
)
def test_bad_shot_is_refused_by_its_line_before_anything_is_exported(
    export, tmp_path, wrong, line, words
):
    code, answer, _ = export(f'[[shots]]\nstrip = "plate"\n[[shots]]\n{wrong}\n')
    assert (code, answer["error"]["code"]) == (2, "InvalidBatch")
    assert f"batch.toml, line {line}: " in answer["error"]["message"]
    assert words in answer["error"]["message"]
    assert not (tmp_path / "b").exists()


def test_shot_with_an_empty_mask_does_not_stop_the_others(export, addon, blend, tmp_path):
    mask = addon.data.masks.new("Nothing")
    mask.layers.new(name="Layer")
    addon.ops.wm.save_mainfile()
    code, answer, stderr = export(
        '[[shots]]\nstrip = "plate"\nmattes = ["mask:Nothing"]\n[[shots]]\nstrip = "plate"\n'
    )
    assert (code, counts(answer), answer["ok"]) == (1, {"made": 1}, False)
    assert answer["failed"][0]["error"]["code"] == "EmptyMask"
    assert answer["failed"][0]["line"] == 2
    assert "mask is empty" in stderr


def test_strips_are_named_on_the_command_line(command, blend, part, tmp_path):
    code, answer, stderr = command(
        "--strip", "plate", "--strip", "plate", "--set", "sampling.steps=3", "--prompt", "a kite",
        "--matte", "mask:Square", "--out", tmp_path / "b", name="export",
    )  # fmt: skip
    assert (code, counts(answer)) == (0, {"made": 1}), stderr
    job = part("core.job").read(jobs_in(tmp_path / "b")[0])
    assert (job.sampling.steps, job.prompt.text) == (3, "a kite")
    for name in ("generate", "check"):
        code, answer, _ = command("--strip", "plate", "--strip", "matte", name=name)
        assert (code, "'matte' is a mask strip" in answer["error"]["message"]) == (2, True)
    code, answer, _ = command("--out", tmp_path / "b", name="export")
    assert (code, answer["error"]["message"]) == (2, "No shot is named.")


def test_two_exports_into_one_folder_are_busy(export, part, tmp_path):
    (tmp_path / "b").mkdir()
    with part("core.lock").hold(tmp_path / "b" / ".export.lock"):
        code, answer, _ = export(TWO_SEEDS)
    assert (code, answer["error"]["code"]) == (75, "JobBusy")


@pytest.fixture
def engine(monkeypatch, tmp_path):
    if not ENGINE.exists():
        pytest.skip(f"no engine environment at {ENGINE}")
    monkeypatch.setenv("WAN_ENGINE_PYTHON", str(ENGINE))
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "cache"))


def test_batch_exports_runs_and_reports_and_can_be_repeated(export, engine, tmp_path):
    manifest = TWO_SEEDS + "settings.sampling.steps = 1\n"
    code, answer, stderr = export(manifest, name="batch")
    assert (code, counts(answer), answer["run"]) == (0, {"made": 2}, {"done": 2}), stderr
    assert answer["report"]["counts"] == {"done": 2}
    page = Path(answer["report"]["page"]).read_text(encoding="utf-8")
    assert page.count("<img") == 2
    code, answer, stderr = export(manifest, name="batch")
    assert (code, counts(answer), answer["run"]) == (0, {"done": 2}, {"skipped": 2}), stderr


def test_dry_run_says_jobs_sizes_and_memory_and_writes_nothing(export, engine, tmp_path):
    code, answer, stderr = export(TWO_SEEDS, "--dry-run")
    assert (code, answer["jobs"]) == (0, 2), stderr
    assert answer["shots"] == [{"shot": "plate", "frames": 6, "size": [64, 48], "jobs": 2}]
    assert answer["memory"][0]["memory"]["predicted_gb"] > 0
    assert [cell["sampling.seed"] for cell in answer["cells"]] == [1, 2]
    assert 0 < answer["disk_gb_at_most"] < 0.01
    assert answer["time"] == {"seconds": 0.0, "not_known": 2}
    assert not (tmp_path / "b").exists()


def test_dry_run_foretells_the_time_by_earlier_jobs(export, part, tmp_path):
    export(TWO_SEEDS)
    one, _ = jobs_in(tmp_path / "b")
    (one / "result").mkdir()
    seconds = {"loading": 1.5, "denoising": 2.0, "decoding": 1.0}
    (one / "result" / "report.json").write_text(json.dumps({"seconds": seconds}))
    code, answer, stderr = export(TWO_SEEDS.replace("[1, 2]", "[1, 2, 3, 4]"), "--dry-run")
    assert code == 0, stderr
    assert answer["time"] == {"seconds": 4 * 3.0 + 1.5, "not_known": 0}
    other = TWO_SEEDS + 'settings.model.path = "nano/i2v"\n'
    assert export(other, "--dry-run")[1]["time"] == {"seconds": 0.0, "not_known": 2}


def test_examples_of_the_documentation_run(engine, blend, part, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "batch.toml").write_text(TWO_SEEDS + "settings.sampling.steps = 1\n")
    text = (REPO / "docs" / "batches.md").read_text(encoding="utf-8")
    examples = [block.partition("```")[0] for block in text.split("```python\n")[1:]]
    assert len(examples) == 2
    names = {"batch": part("batch")}
    for example in examples:
        exec(example, names)
    assert set(names["outcomes"].values()) == {"done"}
    assert Path(names["batch"].report("b1")["page"]).exists()


def test_manifest_of_the_documentation_is_valid(part, tmp_path):
    text = (REPO / "docs" / "batches.md").read_text(encoding="utf-8")
    block = text.partition("## batch.toml\n")[2].partition("\n\nPaths are")[0]
    (tmp_path / "harbour.blend").touch()
    manifest = part("farm.manifest")
    plan = manifest.parse(block.replace("\n    ", "\n").strip(), tmp_path / "batch.toml")
    assert len(plan.cells) == 2 * 2 * 2 * 2
