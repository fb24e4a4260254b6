# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix view in a real Blender with a window: a stroke of the mouse dims it at once.

Screenshots, report and Blender's log are left in tests/out/hygiene.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.hygiene_set.rooms import ROOMS
from wan_blender.engine.hygiene.pictures import write_picture

REPO = Path(__file__).parents[2]
TOOL = [sys.executable, str(REPO / "tools" / "blender_window")]
ENGINE = Path(os.environ.get("WAN_ENGINE_PYTHON") or REPO / ".venv" / "engine" / "bin" / "python")
OUT = REPO / "tests" / "out" / "hygiene"

pytestmark = pytest.mark.window


def test_stroke_dims_the_view_while_it_is_drawn_and_undo_brings_it_back(tmp_path):
    user = tmp_path / "user"
    extension = user / "extensions" / "user_default" / "wan_blender"
    extension.parent.mkdir(parents=True)
    extension.symlink_to(REPO)
    environment = os.environ | {
        "BLENDER_WINDOW_HOME": str(tmp_path / "home"),
        "BLENDER_WINDOW_BIND": str(tmp_path),
        "BLENDER_USER_RESOURCES": str(user),
        "WAN_ENGINE_PYTHON": str(ENGINE),
    }
    if ENGINE.exists():
        base = [ENGINE, "-c", "import sys; print(sys.base_prefix)"]
        environment["BLENDER_WINDOW_BIND"] += f":{subprocess.check_output(base, text=True).strip()}"
    shutil.rmtree(OUT, ignore_errors=True)
    write_picture(OUT / "frame.png", ROOMS["bedroom"]().rgb)
    drive = REPO / "tests" / "gui" / "matrix_drive.py"
    driven = subprocess.run(
        [*TOOL, "show", "python3", str(drive), str(OUT)],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if "no Blender window yet" in driven.stderr:
        pytest.skip(driven.stderr.strip())
    assert driven.returncode == 0, driven.stdout + driven.stderr
    assert "Error" not in (OUT / "blender.log").read_text()
    report = json.loads((OUT / "report.json").read_text())
    before, during, after, undone = (report[k] for k in ("before", "during", "after", "undone"))
    gaps = [b - a for a, b in zip(after["updates"], after["updates"][1:])]
    print("seconds between updates while painting:", [round(gap, 3) for gap in gaps])
    assert during["left"] < 0.97 * before["left"]
    assert after["left"] < 0.9 * before["left"]
    assert after["right"] == pytest.approx(before["right"], rel=0.05)
    assert after["radius"] == pytest.approx(1.0, abs=0.01)  # the brush is set to one pixel
    assert undone["left"] == pytest.approx(before["left"], rel=1e-3)
    treated, untreated, redone = (report[k] for k in ("treated", "untreated", "redone"))
    assert (untreated["mode"], redone["mode"]) == ("off", "soft")
    assert untreated["shown"]  # the Image Editor follows to the map of that time
    assert redone["shown"]
    assert all(icon for _, icon, _ in treated["sinks"])  # a picture of each
    assert treated["score"] < 0.9 * before["score"]
    if ENGINE.exists():
        assert treated["faces"] == []
        assert treated["report"]["second"]["score"] < treated["report"]["first"]["score"]
