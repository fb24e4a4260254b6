# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository root as an extension: Blender's packager accepts it and packs what is meant."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]

# Installs the zip for a user that has nothing, and comes and goes twice; prints what is there.
INSTALL = """
import os, sys
import bpy, addon_utils
bpy.ops.wm.read_factory_settings(use_empty=True)
addon_utils.enable("bl_pkg")
print(bpy.ops.extensions.package_install_files(
    filepath=sys.argv[1], repo="user_default", enable_on_install=True))
module = "bl_ext.user_default.wan_blender"
for _ in range(2):
    print(hasattr(bpy.types.Scene, "wan"), "generate" in dir(bpy.ops.wan))
    addon_utils.disable(module)
    print(hasattr(bpy.types.Scene, "wan"), "generate" in dir(bpy.ops.wan))
    addon_utils.enable(module)
print(sys.modules[module].__file__)
addon_utils.disable(module)
sys.stdout.flush()
os._exit(0)  # bpy 4.5 hangs at exit while panels are registered, and bl_pkg's are
"""


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


def test_zip_installs_enables_and_comes_and_goes(packager, tmp_path):
    packager("build", "--source-dir", REPO, "--output-dir", tmp_path)
    (archive,) = tmp_path.glob("wan_blender-*.zip")
    user = tmp_path / "user"
    ended = subprocess.run(
        [sys.executable, "-c", INSTALL, archive],
        env=os.environ | {"BLENDER_USER_RESOURCES": str(user)},
        capture_output=True,
        text=True,
        check=False,
    )
    wanted = ["{'FINISHED'}", *2 * ["True True", "False False"]]
    wanted.append(str(user / "extensions" / "user_default" / "wan_blender" / "__init__.py"))
    said = [line for line in ended.stdout.splitlines() if line in wanted]
    assert said == wanted, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
