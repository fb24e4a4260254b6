# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo from an empty folder: its files, and that it fails when it shows nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[3]
FILES = ("before.mkv", "after.mkv", "mask.mkv", "demo.blend", "contact_sheet.png", "report.json")


@pytest.fixture
def engine_python(bpy_module) -> str:
    if bpy_module.app.version >= (5, 0):
        pytest.skip("the demo runs on Blender 4.5")
    python = os.environ.get("WAN_ENGINE_PYTHON")
    if not python:
        pytest.skip("WAN_ENGINE_PYTHON names no engine")
    return python


def test_demo_leaves_its_files_and_changes_the_inside_alone(engine_python, tmp_path):
    out = tmp_path / "the demo"
    script = [engine_python, str(REPO / "tools" / "demo" / "run.py"), sys.executable, str(out)]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in FILES:
        assert (out / name).stat().st_size > 500, name
    assert json.loads((out / "report.json").read_text())["max_diff_outside"] == 0


@pytest.mark.parametrize(
    ("measured", "code"),
    [("0, 0, 0.9", 0), ("0, 0, 0.0", 1), ("0, 3, 0.9", 1), ("1, 0, 0.9", 1)],
)
def test_demo_fails_unless_the_inside_alone_changed(engine_python, measured, code):
    words = f"import sys; from tools.demo.run import verdict; sys.exit(verdict({measured}))"
    done = subprocess.run(
        [engine_python, "-c", words], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert ("FAILED" in done.stdout) == bool(code)
