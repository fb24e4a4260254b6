# SPDX-License-Identifier: GPL-3.0-or-later
"""uv is found, or fetched with what Blender's Python has."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import pytest

from tests.unit.install.package_index import pack
from wan_blender.core.errors import EngineMissing
from wan_blender.install import uv as installer
from wan_blender.install.uv import Runner, find_uv


def script(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho uv {version} '(linux)'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A machine without uv, and a folder with the wheel of uv 2.0.1, which is the pinned one:
    the tools folder and the runner."""
    wheels, lock = tmp_path / "wheels", tmp_path / "installer.lock"
    program = script(tmp_path / "uv", "2.0.1").read_text()
    pinned = pack(wheels, "uv", "2.0.1", {"uv-2.0.1.data/scripts/uv": program})
    lock.write_text(f"# pinned\n{pinned}")
    monkeypatch.setattr(installer, "LOCK", lock)
    monkeypatch.setattr(installer, "_USUAL", (tmp_path / "usual",))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    run = Runner(tmp_path / "cache", wheels, lambda _line: None, threading.Event())
    return tmp_path / "tools", run


@pytest.mark.parametrize("lacks", [(), ("pip",)])
def test_uv_is_fetched_pinned_also_where_there_is_no_pip(tools, monkeypatch, lacks):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        installer.importlib.util, "find_spec", lambda name: None if name in lacks else find(name)
    )
    folder, run = tools
    assert find_uv(folder, run) == str(folder / "bin" / "uv")
    assert find_uv(folder, None) == str(folder / "bin" / "uv")  # fetched once


def test_uv_comes_from_the_offline_folder_without_pip(tools, tmp_path):
    folder, _ = tools
    assert find_uv(folder, None, tmp_path) == str(folder / "bin" / "uv")
    assert installer._version(str(folder / "bin" / "uv")) == [2, 0, 1]


def test_another_wheel_of_uv_is_not_run(tools, tmp_path, monkeypatch):
    monkeypatch.setattr(installer.importlib.util, "find_spec", lambda name: None)
    with open(tmp_path / "wheels" / "uv-2.0.1-py3-none-any.whl", "ab") as wheel:
        wheel.write(b"changed")
    with pytest.raises(EngineMissing, match="neither pip nor"):
        find_uv(tools[0], None, tmp_path)


def test_neither_pip_nor_ensurepip_is_told(tools, monkeypatch):
    monkeypatch.setattr(installer.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineMissing, match="neither pip nor ensurepip") as told:
        find_uv(*tools)
    assert "Install uv yourself" in told.value.hint


@pytest.mark.parametrize("place", ["bin", "usual"])
def test_uv_that_is_there_is_used_unless_it_is_older(tools, tmp_path, place):
    folder, run = tools
    uv = script(tmp_path / place / "uv", "2.0.10")
    assert find_uv(folder, None) == str(uv)
    script(uv, "2.0.0")
    script(folder / "bin" / "uv", "1.9")
    assert find_uv(folder, run) == str(folder / "bin" / "uv")
    assert installer._version(str(folder / "bin" / "uv")) == [2, 0, 1]


def test_uv_that_cannot_be_run_is_passed_over(tools, tmp_path):
    broken = script(tmp_path / "bin" / "uv", "3")
    broken.write_bytes(b"\x7fELF no program")
    folder, run = tools
    assert find_uv(folder, run) == str(folder / "bin" / "uv")


def test_system_is_asked_whom_to_trust_where_it_says(tmp_path, monkeypatch):
    monkeypatch.delenv("UV_SYSTEM_CERTS", raising=False)
    monkeypatch.setattr(installer, "_CERTIFICATES", (tmp_path / "no", tmp_path / "certs"))
    monkeypatch.setattr(installer.sys, "platform", "linux")
    (tmp_path / "certs").mkdir()
    assert "UV_SYSTEM_CERTS" not in installer.tool_environment(tmp_path, None)
    (tmp_path / "certs" / "company.pem").write_text("")
    assert installer.tool_environment(tmp_path, None)["UV_SYSTEM_CERTS"] == "1"
    monkeypatch.setenv("UV_SYSTEM_CERTS", "0")
    assert installer.tool_environment(tmp_path, None)["UV_SYSTEM_CERTS"] == "0"
