# SPDX-License-Identifier: GPL-3.0-or-later
"""Run on the screen beside Blender: paints one stroke over the blinds, undoes it, then treats
what is ticked, undoes and redoes that too, and looks at the result in each way.

python3 matrix_drive.py FOLDER        leaves report.json and screenshots in FOLDER
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(sys.argv[1])
SETTLE_S = 4  # for a picture drawn by the processor
PROBE = Path(__file__).with_name("matrix_probe.py")


def state() -> dict:
    path = FOLDER / "state.json"
    return json.loads(path.read_text()) if path.exists() else {}


def until(what: str, condition: Callable[[dict], object], limit_s: float = 200) -> dict:
    deadline = time.monotonic() + limit_s
    while not ((seen := state()) and condition(seen)):
        if time.monotonic() > deadline:
            screenshot("stuck")
            sys.exit(f"waited {limit_s:.0f} s for: {what}\n{json.dumps(seen)}")
        time.sleep(0.05)
    return seen


def xdotool(*words: object) -> None:
    subprocess.run(["xdotool", *map(str, words)], check=True)


def screenshot(name: str) -> None:
    """What is drawn now: the screen shows each picture only with the next, so the pointer moves."""
    for step in (1, -1, 1, -1):
        xdotool("mousemove_relative", "--", step, 0, "sleep", 0.5)
    subprocess.run(["import", "-window", "root", str(FOLDER / f"{name}.png")], check=True)


def main() -> None:
    with open(FOLDER / "blender.log", "w") as log:
        command = ["blender", "--factory-startup", "--gpu-backend", "opengl",
                   "--window-geometry", "0", "0", "1600", "900",
                   "--python", str(PROBE), "--", str(FOLDER)]  # fmt: skip
        blender = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        report = drive()
    finally:
        blender.kill()
    (FOLDER / "report.json").write_text(json.dumps(report, indent=1))


def drive() -> dict:
    before = until("the view is open", lambda s: s["left"] > 0 and not s["busy"])
    xdotool("mousemove", 100, 500, "click", 1, "sleep", 1)  # the splash closes
    before = state()
    left, top, right, bottom = before["picture"]
    x, y = left + 0.08 * (right - left), top + 0.22 * (bottom - top)
    xdotool("mousemove", x, y, "sleep", 0.5, "mousedown", 1)
    for _ in range(16):
        xdotool("mousemove_relative", round(0.02 * (right - left)), 0, "sleep", 0.05)
    during = until("the view dims while the button is down", lambda s: s["left"] < before["left"])
    screenshot("stroke")
    xdotool("mouseup", 1, "sleep", 2)
    after = state()
    screenshot("after")
    xdotool("key", "ctrl+z")
    undone = until(
        "undo takes the blur away", lambda s: abs(s["left"] / before["left"] - 1) < 1e-3, 30
    )
    xdotool("mousemove", left + 20, bottom - 20)
    press("choose 2")
    chosen = until("the second sink fills the editor", lambda s: s["zoom"] > undone["zoom"] + 50)
    time.sleep(SETTLE_S)
    screenshot("sink")
    press("fit")
    press("treat")
    until(
        "the ticked sinks are blurred", lambda s: not s["busy"] and any(r for *_, r in s["sinks"])
    )
    time.sleep(SETTLE_S)
    screenshot("treated")
    treated = state()
    xdotool("key", "ctrl+z")
    untreated = until("undo takes the treatment away", lambda s: s["radius"] == 0, 30)
    xdotool("key", "ctrl+shift+z")
    redone = until("redo brings it back", lambda s: s["radius"] == treated["radius"], 30)
    until("the view is at rest", lambda s: not s["busy"])
    press("report")
    until("the frequency report is there", lambda s: s["report"])
    for view in ("WIPE", "DIFFERENCE", "TREATED"):
        press(view)
        time.sleep(SETTLE_S)
        screenshot(view.lower())
    return {"before": before, "during": during, "after": after, "undone": undone,
            "chosen": chosen, "untreated": untreated, "redone": redone,
            "treated": state()}  # fmt: skip


def press(words: str) -> None:
    (FOLDER / "do.part").write_text(words)
    (FOLDER / "do.part").replace(FOLDER / "do")
    deadline = time.monotonic() + 30
    while (FOLDER / "do").exists() and time.monotonic() < deadline:
        time.sleep(0.05)


main()
