# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository root as an extension: Blender's packager accepts it and packs what is meant."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


@pytest.fixture
def packager(bpy_module):
    """Blender's ``--command extension``, as the script behind it."""
    scripts = Path(bpy_module.utils.system_resource("SCRIPTS"))
    script = scripts / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"

    def run(*arguments: object) -> str:
        command = [sys.executable, str(script), *map(str, arguments)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    return run


def test_validate_accepts_the_repository(packager):
    assert "Success" in packager("validate", REPO)


def test_build_packs_the_package_and_nothing_else(packager, tmp_path):
    packager("build", "--source-dir", REPO, "--output-dir", tmp_path)
    (archive,) = tmp_path.glob("wan_blender-*.zip")
    names = zipfile.ZipFile(archive).namelist()
    tops = {name for name in names if not name.startswith("wan_blender/")}
    assert {"__init__.py", "blender_manifest.toml", "LICENSE"} <= tops
    assert tops <= {"__init__.py", "blender_manifest.toml", "LICENSE", "README.md"}
    packed = {name for name in names if name.startswith("wan_blender/") and name.endswith(".py")}
    assert packed == {str(p.relative_to(REPO)) for p in (REPO / "wan_blender").rglob("*.py")}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
