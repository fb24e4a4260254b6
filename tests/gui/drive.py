# SPDX-License-Identifier: GPL-3.0-or-later
"""Run on the screen beside Blender: drives it by mouse and keyboard, keeps screenshots.

python3 drive.py FOLDER       FOLDER holds shot.blend; report.json and *.png are left there
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

FOLDER = Path(sys.argv[1])
WIDTH, HEIGHT = 1600, 900
PROBE = Path(__file__).with_name("probe.py")


def state() -> dict:
    path = FOLDER / "state.json"
    return json.loads(path.read_text()) if path.exists() else {}


def until(what: str, condition: Callable[[dict], object], limit_s: float = 90.0) -> dict:
    deadline = time.monotonic() + limit_s
    while not ((seen := state()) and condition(seen)):
        if time.monotonic() > deadline:
            screenshot("stuck")
            sys.exit(f"waited {limit_s:.0f} s for: {what}\n{json.dumps(seen, indent=1)}")
        time.sleep(0.1)
    print(f"{time.monotonic() - BEGAN:6.1f} s  {what}", flush=True)
    return seen


def tell(command: str) -> None:
    (FOLDER / "command.txt").write_text(command)
    while (FOLDER / "command.txt").exists():
        time.sleep(0.05)
    time.sleep(0.5)  # until it is drawn


def xdotool(*words: object) -> None:
    subprocess.run(["xdotool", *map(str, words)], check=True)


def screenshot(name: str) -> None:
    time.sleep(0.4)
    subprocess.run(["import", "-window", "root", str(FOLDER / f"{name}.png")], check=True)


def pixels() -> np.ndarray:
    raw = subprocess.check_output(["import", "-window", "root", "-depth", "8", "rgb:-"])
    return np.frombuffer(raw, np.uint8).reshape(HEIGHT, WIDTH, 3)


def buttons(kind: str = "tool") -> list[tuple[int, int, int, int]]:
    """(x, y, width, height) of the buttons of a kind on screen, top to bottom: "tool" for
    operators, "menu" for menus."""
    tell(f"paint {kind}")
    left, _, right, _ = state()["sidebar"]
    for _ in range(20):  # a busy machine takes its time to draw
        image = pixels().astype(int)
        pink = (image[..., 0] > 200) & (image[..., 1] < 90) & (image[..., 2] > 200)
        pink[:, :left] = pink[:, right:] = False
        if pink.any():
            break
        time.sleep(0.2)
    tell("paint off")
    found = []
    for top, bottom in runs(pink.any(axis=1), gap=4):
        for left, right in runs(pink[top:bottom].any(axis=0), gap=12):
            if right - left > 8 and bottom - top > 8:
                found.append((left, top, right - left, bottom - top))
    return found


def runs(line: np.ndarray, gap: int) -> list[tuple[int, int]]:
    """Stretches of True; gaps up to ``gap``, which a button's text leaves, are closed."""
    places = np.flatnonzero(line)
    if not len(places):
        return []
    breaks = np.flatnonzero(np.diff(places) > gap)
    return list(zip(places[np.r_[0, breaks + 1]], places[np.r_[breaks, len(places) - 1]] + 1))


def click(box: tuple[int, int, int, int]) -> None:
    x, y, width, height = box
    xdotool("mousemove", x + width // 4, y + height // 2, "sleep", 0.3, "click", 1)
    xdotool("mousemove", 500, 600, "sleep", 0.5, "mousemove", 520, 620)  # a popup closes


def generate_button() -> tuple[int, int, int, int]:
    """Generate is 1.4 times as high as other buttons, but for those that touch and count as one."""
    found = buttons()
    unit = min(box[3] for box in found)
    return min(found, key=lambda box: abs(box[3] - 1.4 * unit))


def narrowest() -> tuple[int, int, int, int]:
    """Cancel is a button of one icon."""
    return min(buttons(), key=lambda box: box[2])


def running(seen: dict) -> list[dict]:
    return [job for job in seen["jobs"] if job["phase"] in ("exporting", "queued", "running")]


def generates_while_the_editor_works(report: dict) -> None:
    tell("clock")
    time.sleep(3)
    report["idle"] = {key: state()[key] for key in ("longest_ms", "loop_gap_ms")}
    tell("clock")
    before, fractions = set(state()["strips"]), []

    def is_placed(seen: dict) -> bool:
        fractions.extend(job["fraction"] for job in running(seen))
        return bool(set(seen["strips"]) - before)

    click(generate_button())
    until("the job is taken", running)
    screenshot("2_exporting")
    until("it is running", lambda s: running(s)[0]["phase"] == "running")
    first = until("denoising", lambda s: running(s) and running(s)[0]["doing"] == "denoising")
    fractions.append(running(first)[0]["fraction"])
    screenshot("3_progress")
    frame = first["frame"]
    xdotool("mousemove", 400, 300, "key", "Right")
    until("the playhead moves meanwhile", lambda s: s["frame"] == frame + 1, 20)
    seen = until("the strip is there", is_placed)
    report["fractions"] = list(dict.fromkeys(fractions))
    screenshot("4_result")
    (name,) = set(seen["strips"]) - before
    report["strip"] = [name, *seen["strips"][name]]
    report["busy"] = {key: seen[key] for key in ("longest_ms", "loop_gap_ms")}


def undoes_in_one_step(report: dict) -> None:
    name = report["strip"][0]
    xdotool("mousemove", 400, 300, "key", "ctrl+z")
    until("undo takes it away", lambda s: name not in s["strips"], 20)
    xdotool("key", "ctrl+shift+z")
    until("redo brings it back", lambda s: name in s["strips"], 20)
    report["undone_and_redone"] = True


def cancels_by_mouse(report: dict) -> None:
    tell("steps 900")
    strips = set(state()["strips"])
    click(generate_button())
    until("a second job denoises", lambda s: running(s) and running(s)[0]["doing"] == "denoising")
    screenshot("5_second")
    click(narrowest())
    seen = until("it is cancelled", lambda s: not running(s), 60)
    screenshot("6_cancelled")
    report["after_cancel"] = {
        "new_strips": sorted(set(seen["strips"]) - strips),
        "error": seen["error"],
        "engine": until("the engine is ready", lambda s: s["engine"] == "ready", 20)["engine"],
    }


def says_what_to_do(report: dict) -> None:
    os.kill(state()["engine_pid"], signal.SIGKILL)
    report["killed_engine"] = until("its death is told", lambda s: s["engine"] == "failed")["error"]
    screenshot("7_engine_died")
    good = os.environ["WAN_ENGINE_PYTHON"]
    tell("python /no/such/python")
    click(generate_button())
    report["no_engine"] = until("no engine is told", lambda s: s["engine"] == "missing")["error"]
    screenshot("8_no_engine")
    xdotool("key", "Escape")  # the popup
    tell(f"python {good}")


def dies_with_its_engine(blender: subprocess.Popen, report: dict) -> None:
    click(generate_button())
    until("a third job denoises", lambda s: running(s) and running(s)[0]["doing"] == "denoising")
    pid = state()["engine_pid"]
    blender.kill()
    blender.wait()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    report["engine_left_behind"] = Path(f"/proc/{pid}").exists()


def main() -> None:
    report: dict = {}
    window = ["--gpu-backend", "opengl", "--window-geometry", "0", "0", str(WIDTH), str(HEIGHT)]
    command = ["blender", *window, FOLDER / "shot.blend", "--python", PROBE, "--", FOLDER]
    with open(FOLDER / "blender.log", "w") as log:
        blender = subprocess.Popen([*map(str, command)], stdout=log, stderr=log)
    until("the Wan tab is open", lambda s: s["engine"] == "stopped", 60)
    screenshot("1_start")
    try:
        generates_while_the_editor_works(report)
        undoes_in_one_step(report)
        cancels_by_mouse(report)
        says_what_to_do(report)
        dies_with_its_engine(blender, report)
    finally:
        blender.kill()
        (FOLDER / "report.json").write_text(json.dumps(report, indent=1))


BEGAN = time.monotonic()
if __name__ == "__main__":
    main()
