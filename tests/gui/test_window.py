# SPDX-License-Identifier: GPL-3.0-or-later
"""The built and installed zip in a real Blender with a window, driven by mouse, on the demo's file.

Screenshots, the report and Blender's log are left in tests/out/window.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.demo import film

REPO = Path(__file__).parents[2]
TOOL = [sys.executable, str(REPO / "tools" / "blender_window")]
OUT = REPO / "tests" / "out" / "window"
ENGINE = Path(os.environ.get("WAN_ENGINE_PYTHON") or REPO / ".venv" / "engine" / "bin" / "python")

pytestmark = pytest.mark.window


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    """``window(verb, program...)`` runs a program in the Blender root, with a fresh user."""
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {"BLENDER_WINDOW_HOME": str(home), "WAN_ENGINE_PYTHON": str(ENGINE)}
    if ENGINE.exists():
        base = [ENGINE, "-c", "import sys; print(sys.base_prefix)"]
        environment["BLENDER_WINDOW_BIND"] = subprocess.check_output(base, text=True).strip()

    def run(verb: str, *program: object, limit_s: float = 120) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*TOOL, verb, *map(str, program)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )

    ended = run("run", "blender", "--version")
    if ended.returncode:
        pytest.skip(ended.stderr.strip() or "no Blender window on this machine")
    return run


@pytest.fixture(scope="module")
def installed(window, tmp_path_factory) -> None:
    """The zip, built without options from the repository and installed for a fresh user."""
    folder = tmp_path_factory.mktemp("zip")
    validated = window("run", "blender", "--command", "extension", "validate", REPO)
    assert validated.returncode == 0, validated.stdout + validated.stderr
    command = f"cd {REPO} && exec blender --command extension build --output-dir {folder}"
    built = window("run", "sh", "-c", command)
    assert built.returncode == 0, built.stdout + built.stderr
    (archive,) = folder.glob("*.zip")
    install = ("extension", "install-file", "-r", "user_default", "-e", archive)
    done = window("run", "blender", "--command", *install)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def shot_file(window, installed) -> Path:
    if not ENGINE.exists():
        pytest.skip(f"no engine environment at {ENGINE}")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    film.film(OUT)
    script = REPO / "tests" / "gui" / "make_file.py"
    made = window("run", "blender", "--background", "--python", script, "--", OUT)
    assert (OUT / "shot.blend").exists(), made.stdout + made.stderr
    return OUT / "shot.blend"


def test_headless_command_answers_with_json_and_exit_codes(window, shot_file):
    command = ("blender", shot_file, "--command", "wan_blender", "generate")
    refused = window("run", *command, "--strip", "nowhere")
    assert refused.returncode == 2
    answer = json.loads(refused.stdout.splitlines()[-1])
    assert answer["error"]["code"] == "NothingSelected"
    saved = OUT / "headless.blend"
    done = window(
        "run", *command, "--strip", "clip", "--prompt", "a kite", "--matte",
        "ball mask:alpha", "--set", "sampling.steps=2", "--out", OUT / "job", "--save", saved,
        limit_s=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["ok"]
    assert answer["report"]["max_diff_outside"] == 0
    assert Path(answer["result"], "patch", "000020.png").exists()
    assert saved.exists()
    assert "denoising" in done.stderr


def test_editor_generates_undoes_cancels_and_is_told_by_mouse(window, shot_file, capsys):
    drive = REPO / "tests" / "gui" / "drive.py"
    driven = window("show", "python3", drive, OUT, limit_s=800)
    print(driven.stdout)
    assert driven.returncode == 0, driven.stdout + driven.stderr
    report = json.loads((OUT / "report.json").read_text())
    with capsys.disabled():
        for state in ("idle", "busy"):
            print(f"\nmain thread, {state}:", json.dumps(report[state]))
    name, channel, start, frames = report["strip"]
    assert (name, channel, start, frames) == ("a red ball [0]", 3, 1, 21)
    assert len(report["fractions"]) >= 2  # the bar moves, and only on
    assert report["fractions"] == sorted(report["fractions"])
    assert report["undone_and_redone"]
    assert report["after_cancel"] == {"new_strips": [], "error": "", "engine": "ready"}
    assert "signal 9" in report["killed_engine"]
    assert "/no/such/python" in report["no_engine"]
    assert not report["engine_left_behind"]
    assert "Traceback" not in (OUT / "blender.log").read_text()  # of a panel's draw, for instance


def test_editor_chooses_a_model_sets_up_stages_and_fixes_the_schedule_by_mouse(
    window, shot_file, capsys
):
    drive = REPO / "tests" / "gui" / "models_drive.py"
    driven = window("show", "python3", drive, OUT, limit_s=800)
    print(driven.stdout)
    assert driven.returncode == 0, driven.stdout + driven.stderr
    report = json.loads((OUT / "models.json").read_text())
    with capsys.disabled():
        print("\nmain thread:", json.dumps(report["longest_ms"]))
    assert report["defaults"] == {"steps": 20, "shift": 3.0, "guidance": 3.0}
    assert report["memory"]["fits"]
    assert report["stages"] == ["high noise", "low noise"]
    assert "wasted-above" in report["findings"]
    assert report["fixed"]["shift"] == 3.0
    assert len(report["strip"]) == 1
    assert "Traceback" not in (OUT / "blender.log").read_text()
