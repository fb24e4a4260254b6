# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder for machines without a network: made from an index, then installed from alone."""

from __future__ import annotations

import ensurepip
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.install.package_index import python_archive, value_of, wheel
from wan_blender.core.errors import BadRequest, Cancelled, EngineMissing
from wan_blender.install import offline
from wan_blender.install.environment import install, status, uninstall
from wan_blender.install.offline import bundle

THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="packs this Python as on Linux")


@pytest.fixture
def small(online, monkeypatch):
    """The recipe's packages, and one of them in place of uv, which has tens of MB."""
    recipe, index = online
    monkeypatch.setattr(offline, "LOCK", recipe.lock)
    return recipe, index


@pytest.fixture
def without_python(tmp_path, monkeypatch):
    """Let uv find no Python on this machine."""
    (tmp_path / "bin").mkdir()
    shutil.copy(shutil.which("uv"), tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@needs_linux
def test_folder_brings_packages_and_python(tmp_path, small, without_python, monkeypatch):
    recipe, index = small
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(python_archive(tmp_path)))
    folder, home = tmp_path / "a folder, for a stick", tmp_path / "home"
    recipe = replace(recipe, python=THIS)
    says = bundle(folder, recipe)
    assert says == f"{folder} holds the engine with torch 2.0, 0.0 GB."
    assert sorted(path.name for path in folder.iterdir()) == ["packages", "python", "torch", "uv"]
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", "/no/such/list.json")
    asked = len(index.asked)
    python = install(home, replace(recipe, offline=folder))
    assert len(index.asked) == asked
    assert (value_of(python), value_of(python, "tinytorch")) == ("1", "2")
    base = subprocess.run(
        [python, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True
    )
    assert Path(base.stdout.strip()).is_relative_to(home / "engines" / "pythons")
    shutil.rmtree(folder)
    assert value_of(python) == "1"
    uninstall(home)
    assert not (home / "engines").exists()


@needs_linux
def test_damaged_python_is_told_and_leaves_nothing(tmp_path, recipe, without_python):
    archive = recipe.offline / "python" / "cpython-3.99.tar.gz"
    archive.parent.mkdir()
    downloads = python_archive(tmp_path)
    whole = next(tmp_path.glob("cpython-*.tar.gz")).read_bytes()
    downloads.unlink()
    for bad in (whole[: len(whole) // 2], b"<html>", b""):
        archive.write_bytes(bad)
        with pytest.raises(EngineMissing, match=r"cpython-3.99.tar.gz is damaged"):
            install(tmp_path / "home", replace(recipe, python="3.99"))
        assert status(tmp_path / "home", recipe).state == "missing"
    archive.write_bytes(whole)
    python = install(tmp_path / "home", replace(recipe, python="3.99"))
    assert value_of(python) == "1"


@needs_linux
def test_environment_around_is_not_the_python_of_the_wheels(tmp_path, recipe, without_python):
    """uv looks for a .venv in the folders around the one it is run in."""
    around = tmp_path / ".venv" / "bin"
    around.mkdir(parents=True)
    (around / "python").symlink_to(sys.executable)
    (around.parent / "pyvenv.cfg").write_text(f"home = {Path(sys.base_prefix) / 'bin'}\n")
    (recipe.offline / "python").mkdir()
    python_archive(recipe.offline / "python").unlink()
    python = install(tmp_path / "home", replace(recipe, python=THIS))
    assert value_of(python) == "1"


def test_folder_without_packages_is_told(tmp_path, recipe):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "stick that was taken out", tmp_path / "empty"):
        with pytest.raises(BadRequest, match=r"no packages in .*Choose the folder wan_engine_"):
            install(tmp_path / "home", replace(recipe, offline=folder))
    recipe.offline.rename(tmp_path / "empty" / "wan_engine_linux_x86_64")
    python = install(tmp_path / "home", replace(recipe, offline=tmp_path / "empty"))
    assert value_of(python) == "1"


def test_python_is_asked_for_where_there_is_none(tmp_path, recipe):
    with pytest.raises(EngineMissing, match=r"wheels .* for Python 3\.99, which is not"):
        install(tmp_path / "home", replace(recipe, python="3.99"))
    assert status(tmp_path / "home", recipe).state == "missing"


def test_folder_without_python_is_told(tmp_path, small, monkeypatch):
    recipe, _ = small
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", "/no/such/list.json")
    lines = []
    says = bundle(tmp_path / "folder", replace(recipe, python=THIS), lines.append)
    assert says.endswith(f"Python {THIS} must be on the machine it is for.")
    assert any(line.endswith("The folder will have no Python.") for line in lines)
    python = install(tmp_path / "home", replace(recipe, python=THIS, offline=tmp_path / "folder"))
    assert value_of(python, "tinytorch") == "2"


def test_stopped_bundle_goes_on(tmp_path, small):
    recipe, index = small
    folder, stop, lines = tmp_path / "folder", threading.Event(), []
    index.pause_s = 0.03

    def tell(line: str) -> None:
        lines.append(line)
        if line.startswith("Fetching tinytorch: "):
            stop.set()

    with pytest.raises(Cancelled):
        bundle(folder, recipe, tell, stop)
    (part,) = (folder / "torch").glob("*.part")
    arrived = part.stat().st_size
    assert arrived
    index.pause_s = 0
    bundle(folder, recipe)
    assert f"bytes={arrived}-" in [asked for _, asked, _ in index.asked]
    assert [path.name for path in (folder / "torch").glob("*.whl*")] == [
        "tinytorch-2.0-py3-none-any.whl"]  # fmt: skip


def test_pip_fetches_what_cannot_be_fetched_here(tmp_path, small, monkeypatch):
    """Whatever Python makes it, with what torch brings."""
    recipe, index = small
    wheel(index.wheels, "tinytorch", "3.0", "import tinydep\nVALUE = tinydep.VALUE\n", "tinydep")
    wheel(index.wheels, "tinydep", "1.0", "VALUE = 5\n")
    for path in Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"):
        shutil.copy(path, index.wheels)
    index.refuse = "wan_blender"
    monkeypatch.setenv("PIP_INDEX_URL", os.environ["UV_DEFAULT_INDEX"])
    recipe = replace(recipe, torch="tinytorch==3.0", backend="index", unpinned=True)
    bundle(tmp_path / "folder", recipe)
    assert {path.name.split("-")[0] for path in (tmp_path / "folder").rglob("*.whl")} == {
        "alpha", "tinydep", "tinytorch"}  # fmt: skip
    shutil.rmtree(index.wheels)
    recipe = replace(recipe, offline=tmp_path / "folder")
    assert value_of(install(tmp_path / "home", recipe), "tinytorch") == "5"


def test_build_of_torch_is_named_to_pip():
    assert offline._for_pip(("--torch-backend", "cu128")) == [
        "--extra-index-url", "https://download.pytorch.org/whl/cu128"]  # fmt: skip
    assert offline._for_pip(("--torch-backend", "auto")) == offline._for_pip(()) == []
