# SPDX-License-Identifier: GPL-3.0-or-later
"""Installing the engine from the preferences."""

import pytest


def test_install_needs_online_access_or_a_folder_of_wheels(addon, part, tmp_path, monkeypatch):
    preferences = part("preferences").get()
    if addon.app.online_access:
        addon.context.preferences.system.use_online_access = False
    assert not addon.app.online_access
    assert not addon.ops.wan.install_engine.poll()
    preferences.wheels = str(tmp_path)
    assert addon.ops.wan.install_engine.poll()


def test_failed_install_is_told_and_changes_nothing(addon, part, tmp_path):
    """A folder without wheels: the real installer runs and finds nothing."""
    part("preferences").get().wheels = str(tmp_path)
    with pytest.raises(RuntimeError) as told:
        addon.ops.wan.install_engine()
    assert str(tmp_path) in str(told.value) or "uv" in str(told.value)
    home = part("preferences").home()
    assert part("engine_env").status(home).state == "missing"
    with pytest.raises(RuntimeError, match="no earlier environment"):
        addon.ops.wan.roll_back_engine()
