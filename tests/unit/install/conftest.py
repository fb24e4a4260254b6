# SPDX-License-Identifier: GPL-3.0-or-later
"""What installing the engine is tested with: the real uv, and small packages."""

from __future__ import annotations

import base64
import os
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.install.package_index import Index, wheel
from wan_blender.install.recipe import Recipe


@pytest.fixture
def uv_beside(monkeypatch):
    """uv as installed beside the Python that runs the tests."""
    beside = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", beside + os.pathsep + os.environ["PATH"])
    assert shutil.which("uv"), "install tests/requirements.txt"


@pytest.fixture
def recipe(tmp_path, uv_beside):
    """A recipe of one package and a stand-in for torch, both locked, from a folder of wheels."""
    wheels = tmp_path / "wheels"
    lock = tmp_path / "small.lock"
    lock.write_text(wheel(wheels, "alpha", "1.0", "VALUE = 1\n"))
    (tmp_path / "torch-pypi.lock").write_text(wheel(wheels, "tinytorch", "2.0", "VALUE = 2\n"))
    return Recipe(
        lock=lock, torch_locks=tmp_path, python=sys.executable, imports=("alpha", "tinytorch"),
        offline=wheels,
    )  # fmt: skip


@pytest.fixture
def online(recipe, monkeypatch):
    """The recipe's packages from an index; the stand-in for torch has 4 MB."""
    filling = base64.b64encode(random.Random(0).randbytes(3_000_000)).decode()
    line = wheel(recipe.offline, "tinytorch", "2.0", f"VALUE = 2  # {filling}\n")
    (recipe.torch_locks / "torch-pypi.lock").write_text(line)
    index = Index(recipe.offline)
    server = index.serve()
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{server.server_port}/")
    yield replace(recipe, offline=None), index
    server.shutdown()
    server.server_close()
