# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch as a job of OpenJD and of Flamenco: what they are given is run, with the real engine."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wan_blender.core import job as jobs
from wan_blender.core.result import find_result
from wan_blender.farm.__main__ import main
from wan_blender.farm.chunks import write_chunks
from wan_blender.farm.driver import read_work
from wan_blender.farm.templates import Machine, write_template

REPO = Path(__file__).parents[2]
ENGINE = Path(os.environ.get("WAN_ENGINE_PYTHON") or REPO / ".venv" / "engine" / "bin" / "python")
MAKE = """
import sys
from pathlib import Path
from tests.engine.folders import make_job, moving_square, noise_plate
from wan_blender.farm.exports import CellNote
for name, model, priority in (("a", "", 0), ("b", "nano/experts", 0), ("c", "", 0), ("d", "", 5)):
    folder = Path(sys.argv[1]) / name
    make_job(folder, noise_plate(5, 32, 48), moving_square(5, 32, 48, 12), sampling__steps=2,
             model__path=model)
    CellNote("shot", "key", priority).write(folder)
"""


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """Four tiny jobs of two models; one is broken."""
    if not ENGINE.exists():
        pytest.skip(f"no engine environment at {ENGINE}")
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "b"
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    subprocess.run([ENGINE, "-c", MAKE, folder], check=True, env=environment)
    broken = shutil.copytree(folder / "a", folder / "broken")
    (broken / "job.json").write_text("{")
    return folder


def template(batch: Path, kind: str, *words: str) -> dict:
    assert main(["template", str(batch), "--to", kind, "--python", str(ENGINE),
                 "--package", str(REPO), "--jobs", "2", *words]) == 0  # fmt: skip
    return json.loads((batch / f"{kind}.json").read_text())


def test_lists_hold_one_model_each_and_the_urgent_first(batch):
    chunks = write_chunks(batch, 2)
    assert [set(chunk.jobs) for chunk in chunks if len(chunk.jobs) == 2] == [{"a", "c"}]
    assert chunks[0].jobs == ("d",)
    assert len(chunks) == 3
    for chunk in chunks:
        folders = [chunk.file.parent / line for line in chunk.file.read_text().splitlines()]
        assert len({read_work(folder.resolve()).model for folder in folders}) == 1


def test_openjd_runs_every_job(batch):
    if not importlib.util.find_spec("openjd.cli"):
        pytest.skip("no openjd-cli here; make farm-env")
    made = template(batch, "openjd", "--gpus", "1", "--gpu-gb", "24")
    amounts = made["steps"][0]["hostRequirements"]["amounts"]
    assert amounts[1] == {"name": "amount.worker.gpu.memory", "min": 24576}
    openjd = Path(sys.executable).with_name("openjd")
    for words in (("check",), ("run", "--step", "Generate")):
        command = [openjd, *words[:1], batch / "openjd.json", *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=batch)
        assert done.returncode == 0, done.stdout + done.stderr
    assert all(find_result(batch / name) for name in "abcd")


STAND_IN = """
const tasks = [];
const author = {
    Task: (name, type) => ({ name, type, commands: [], addCommand(c) { this.commands.push(c) } }),
    Command: (name, parameters) => ({ name, parameters }),
};
compileJob({ settings: %s, addTask: (task) => tasks.push(task) });
console.log(JSON.stringify({ tasks, type: JOB_TYPE }));
"""


def test_flamenco_commands_run_every_job(batch):
    node = shutil.which("node")
    if not node:
        pytest.skip("no JavaScript engine here")
    made = template(batch, "flamenco", "--paths", "/srv=/mnt")
    script = (batch / f"{made['type']}.js").read_text()
    script += STAND_IN % json.dumps(made["settings"])
    done = subprocess.run([node, "-e", script], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    declared = {setting["key"]: setting for setting in told["type"]["settings"]}
    assert set(made["settings"]) == set(declared)
    assert [task["type"] for task in told["tasks"]] == ["misc"] * 3
    for task in told["tasks"]:
        (command,) = task["commands"]
        assert command["name"] == "exec"
        words = [command["parameters"]["exe"], *command["parameters"]["args"]]
        ran = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
        assert ran.returncode == 0, ran.stderr
    assert all(find_result(batch / name) for name in "abcd")
    assert main(["template", str(batch), "--to", "flamenco"]) == 2


NEEDS_GB = {"a": 12.0, "b": 12.0, "c": 48.0, "d": 24.0}


def test_openjd_has_a_step_for_each_kind_of_card(batch):
    if not importlib.util.find_spec("openjd.cli"):
        pytest.skip("no openjd-cli here; make farm-env")
    write_template(batch, "openjd", Machine(gpus=1, gpu_gb=16), 2, NEEDS_GB)
    steps = json.loads((batch / "openjd.json").read_text())["steps"]
    wanted = {step["name"]: step["hostRequirements"]["amounts"][1]["min"] / 1024 for step in steps}
    assert wanted == {
        "Generate on 12 GB": 16, "Generate on 24 GB": 24, "Generate on 48 GB": 48,
    }  # fmt: skip
    openjd = Path(sys.executable).with_name("openjd")
    done = subprocess.run([openjd, "check", batch / "openjd.json"], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_flamenco_has_a_job_for_each_tag(batch):
    machine = Machine(tags=((24.0, "uuid-24"), (80.0, "uuid-80"), (8.0, "uuid-8")))
    told = write_template(batch, "flamenco", machine, 2, NEEDS_GB)
    jobs_made = [json.loads(Path(file).read_text()) for file in told["files"][1:]]
    tags = {job["worker_tag"]: job["metadata"]["jobs"] for job in jobs_made}
    assert tags == {"uuid-24": "3", "uuid-80": "1"}
    listed = [name for job in jobs_made for name, _ in json.loads(job["settings"]["chunks"])]
    assert sorted(listed) == ["00001.txt", "00002.txt", "00003.txt", "00004.txt"]


def test_cards_are_asked_of_an_engine(batch):
    made = template(batch, "openjd", "--cards", "--engine", str(ENGINE), "--gpus", "1")
    (step,) = made["steps"]
    assert step["hostRequirements"]["amounts"][1]["min"] == 6 * 1024


def test_finished_batch_has_no_template(batch, capsys):
    for name in ("a", "b", "c", "d"):
        (batch / name / "result").mkdir()
        (batch / name / "result" / "report.json").write_text("{}")
    assert main(["template", str(batch), "--to", "openjd"]) == 2
    assert "no unfinished job" in capsys.readouterr().err
    assert jobs.read_events(batch / "a") == ["created"]
