# SPDX-License-Identifier: GPL-3.0-or-later
"""No child runs code from where Blender was started: the folder may have come with a project."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wan_blender.install.environment import _fault
from wan_blender.install.recipe import Recipe
from wan_blender.install.uv import Runner
from wan_blender.process.call import EngineCall
from wan_blender.process.child import child_environment
from wan_blender.process.engine import EngineProcess, find_python

PLANTED = ("json", "numpy", "torch", "wan_blender", "argparse", "psutil", "sitecustomize", "pip")


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Starts this process in a folder full of modules that leave a mark where they are imported."""
    folder = tmp_path / "project"
    folder.mkdir()
    mark = tmp_path / "it ran"
    for name in PLANTED:
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(folder)
    yield folder
    assert not mark.exists(), f"{mark.read_text()} was imported from the current folder"


def test_the_trap_works(planted, tmp_path):
    """What the fixture plants is what a careless child would run."""
    subprocess.run([sys.executable, "-m", "json"], capture_output=True, check=False)
    assert "json" in (tmp_path / "it ran").read_text()
    (tmp_path / "it ran").unlink()


def test_engine_does_not_run_planted_code(planted, tmp_path):
    engine = EngineProcess(Path(sys.executable), tmp_path / "log.txt", "tests.unit.stub_engine")
    engine.start()
    while engine.hello is None and engine.error is None:
        engine.poll()
    engine.stop()
    assert engine.error is None


def test_calls_do_not_run_planted_code(planted):
    call = EngineCall(Path(sys.executable), "doctor", "--json")
    call.wait()
    assert call.result()


def test_probes_and_tools_do_not_run_planted_code(planted, tmp_path):
    assert (
        _fault(Path(sys.executable), Recipe(lock=Path(), torch="", python="", imports=("json",)))
        == ""
    )
    run = Runner(tmp_path / "engines" / "cache", None, lambda line: None, threading.Event())
    run([sys.executable, "-c", "import json, argparse"])
    run([sys.executable, "-m", "pip", "--version"])


def test_relative_python_is_found_from_where_it_was_named(planted, monkeypatch):
    (planted / "python").symlink_to(sys.executable)
    monkeypatch.setenv("WAN_ENGINE_PYTHON", "./python")
    assert find_python() == planted / "python"


def test_environment_asks_for_a_safe_path():
    assert child_environment()["PYTHONSAFEPATH"] == "1"
