# SPDX-License-Identifier: GPL-3.0-or-later
"""Real bpy with the extension enabled from this tree, in a user folder of its own.

The tests talk to it as a script would: bpy.ops, bpy.context. ``part`` gives a module of the
running extension where a test needs one; ``import wan_blender`` would be a second copy of it.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

REPO = Path(__file__).parents[2]
MODULE = "bl_ext.user_default.wan_blender"

# Blender reads it once, when bpy is imported, so it is set before any test can.
_resources = tempfile.TemporaryDirectory(prefix="wan-blender-user-")
os.environ["BLENDER_USER_RESOURCES"] = _resources.name
os.environ["XDG_DATA_HOME"] = str(Path(_resources.name) / "data")
_extension = Path(_resources.name) / "extensions" / "user_default" / "wan_blender"
_extension.parent.mkdir(parents=True)
_extension.symlink_to(REPO)


ALONE = "WAN_BLENDER_TEST_ALONE"


def pytest_pyfunc_call(pyfuncitem):
    """A test marked ``own_process`` runs as the first and only one of a process of its own: 5.2 as
    a module draws text in the first file of a process only."""
    if not pyfuncitem.get_closest_marker("own_process") or ALONE in os.environ:
        return None
    name = f"{pyfuncitem.path}::{pyfuncitem.name}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {
        ALONE: "1"
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", name],
        cwd=REPO, env=environment | {ALONE: "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return True


@pytest.fixture(scope="session")
def bpy_module() -> ModuleType:
    return pytest.importorskip("bpy", reason="bpy is not installed in this environment")


@pytest.fixture
def addon(bpy_module):
    """The extension, enabled in an empty file; disabled at the end, or bpy 4.5 hangs at exit."""
    import addon_utils

    bpy_module.ops.wm.read_factory_settings(use_empty=True)
    assert addon_utils.enable(MODULE, default_set=True) is not None
    yield bpy_module
    addon_utils.disable(MODULE, default_set=True)


@pytest.fixture
def part(addon):
    """``part("host.session")``: a module of the running extension."""
    return lambda name: importlib.import_module(f"{MODULE}.wan_blender.{name}")


@pytest.fixture
def stub_engine(stub_python, monkeypatch) -> Path:
    """``stub_python`` as the engine's Python of this session."""
    monkeypatch.setenv("WAN_ENGINE_PYTHON", str(stub_python))
    return stub_python


@pytest.fixture
def scene(addon):
    """A green plate of 6 frames at 64x48 from frame 11, a square mask over it on channel 3."""
    scene = addon.context.scene
    scene.render.resolution_x, scene.render.resolution_y = 64, 48
    strips = scene.sequence_editor_create().strips
    new_times = addon.app.version >= (5, 2, 0)
    span = {"length": 6} if new_times else {"frame_end": 17}
    plate = strips.new_effect(name="plate", type="COLOR", channel=2, frame_start=11, **span)
    plate.color = (0.2, 0.5, 0.3)
    mask = addon.data.masks.new("Square")
    spline = mask.layers.new(name="Layer").splines.new()
    spline.points.add(3)
    spline.use_cyclic = True
    for point, corner in zip(spline.points, ((0.3, 0.3), (0.7, 0.3), (0.7, 0.7), (0.3, 0.7))):
        point.co = corner
        point.handle_left_type = point.handle_right_type = "VECTOR"
    strip = strips.new_mask(name="matte", mask=mask, channel=3, frame_start=11)
    setattr(strip, "duration" if new_times else "frame_final_duration", 6)
    return scene


@pytest.fixture
def command(part, scene, stub_engine, tmp_path, capfd):
    """``command(arguments...)``: (exit code, the JSON on stdout, stderr) of generate, or of the
    command ``name``."""
    part("host.preferences").get().jobs = str(tmp_path / "jobs")

    def run(*arguments: object, name: str = "generate") -> tuple[int, dict, str]:
        capfd.readouterr()
        stdout = os.dup(1)
        try:
            code = part("host.command_line").main([name, *map(str, arguments)])
            out, err = capfd.readouterr()
        finally:
            os.dup2(stdout, 1)  # the command keeps it to the end of the process
            os.close(stdout)
        return code, json.loads(out.splitlines()[-1]), err

    return run
