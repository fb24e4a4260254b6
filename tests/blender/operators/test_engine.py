# SPDX-License-Identifier: GPL-3.0-or-later
"""Installing the engine from the preferences."""

import sys

import pytest


def test_install_needs_online_access_or_a_folder_of_wheels(addon, part, tmp_path, monkeypatch):
    preferences = part("host.preferences").get()
    if addon.app.online_access:
        addon.context.preferences.system.use_online_access = False
    assert not addon.app.online_access
    assert not addon.ops.wan.install_engine.poll()
    preferences.wheels = str(tmp_path)
    assert addon.ops.wan.install_engine.poll()


def test_build_without_known_hashes_wants_consent(addon, part, tmp_path):
    preferences = part("host.preferences").get()
    preferences.wheels = str(tmp_path)
    assert (preferences.backend, preferences.unpinned) == ("pypi", False)
    assert addon.ops.wan.install_engine.poll()
    preferences.backend = "cu128"
    assert not addon.ops.wan.install_engine.poll()
    preferences.unpinned = True
    assert addon.ops.wan.install_engine.poll()


def test_failed_install_is_told_and_changes_nothing(addon, part, tmp_path):
    """A folder without wheels: the real installer runs and finds nothing."""
    part("host.preferences").get().wheels = str(tmp_path)
    with pytest.raises(RuntimeError) as told:
        addon.ops.wan.install_engine()
    assert str(tmp_path) in str(told.value) or "uv" in str(told.value)
    home = part("host.preferences").home()
    assert part("install.environment").status(home).state == "missing"
    assert not addon.ops.wan.roll_back_engine.poll()


def test_models_and_jobs_outlast_the_extension(addon, part, tmp_path, monkeypatch):
    """Blender removes the extension's own folder with it."""
    preferences = part("host.preferences")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert preferences.model_places() == [tmp_path / "data" / "wan_blender" / "models"]
    assert preferences.jobs_roots() == [tmp_path / "data" / "wan_blender" / "jobs"]
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    if sys.platform == "linux":
        assert preferences.data_folder() == tmp_path / ".local" / "share" / "wan_blender"
    assert not preferences.data_folder().is_relative_to(preferences.home())
    preferences.get().models = str(tmp_path / "mine")
    assert preferences.model_places() == [tmp_path / "mine"]


def test_offline_folder_needs_a_network_and_a_place(addon, part, tmp_path, monkeypatch):
    system = addon.context.preferences.system
    was = system.use_online_access
    system.use_online_access = False
    assert not addon.ops.wan.bundle_engine.poll()
    system.use_online_access = True
    try:
        with pytest.raises(RuntimeError, match="No folder is named"):
            addon.ops.wan.bundle_engine()
        occupied = tmp_path / "file"
        occupied.write_text("")
        with pytest.raises(RuntimeError, match="file"):
            addon.ops.wan.bundle_engine(directory=str(occupied))
    finally:
        system.use_online_access = was
    assert occupied.read_text() == ""


def test_report_is_copied_with_and_without_an_engine(addon, part, tmp_path, monkeypatch):
    monkeypatch.setenv("WAN_ENGINE_PYTHON", "")
    addon.ops.wan.examine_engine()
    without = part("host.state").host().diagnosis.report().splitlines()
    assert without[0].startswith(f"wan_blender 0.1.0 in Blender {addon.app.version_string} on ")
    assert "!!  The engine is not installed. Install it." in without
    assert "Press Install Engine" in without[-1]
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    part("host.preferences").get().python = str(bare)
    addon.ops.wan.examine_engine()
    told = part("host.state").host().diagnosis.report()
    assert "!!  torch: is not installed." in told
    assert "The engine is not installed" not in told
    bare.write_text("#!/bin/sh\necho no such library >&2; exit 3\n")
    addon.ops.wan.examine_engine()
    assert "no such library" in part("host.state").host().diagnosis.report()
