# SPDX-License-Identifier: GPL-3.0-or-later
"""Run on the screen beside Blender: chooses a model, its defaults and stages, fixes what is
advised against, and generates.

python3 models_drive.py FOLDER       FOLDER holds shot.blend; models.json and m*.png are left there
"""

import json
import subprocess

from drive import (
    FOLDER,
    HEIGHT,
    PROBE,
    WIDTH,
    buttons,
    click,
    running,
    screenshot,
    state,
    tell,
    until,
    xdotool,
)

MODEL = ("WAN_PT_generate", "WAN_PT_model", "WAN_PT_model_files")
SCHEDULE = ("WAN_PT_generate", "WAN_PT_schedule", "WAN_PT_stages")
RESULTS = ("WAN_PT_results",)


def in_tab(kind: str) -> list[tuple[int, int, int, int]]:
    """Wide buttons of the tab, top to bottom; the editor's header has some of its own."""
    top = state()["sidebar"][1]
    return [box for box in buttons(kind) if box[1] > top + 20 and box[2] > 120]


def choose(menu: tuple[int, int, int, int], entry: int) -> None:
    """The entry of a menu, counted from 0, by keyboard."""
    x, y, width, height = menu
    xdotool("mousemove", x + width // 2, y + height // 2, "sleep", 0.3, "click", 1, "sleep", 0.6)
    xdotool("key", "Home", "sleep", 0.2)
    for _ in range(entry):
        xdotool("key", "Down", "sleep", 0.1)
    screenshot(f"m_menu_{entry}")
    xdotool("key", "Return", "sleep", 0.4)


def chooses_a_model(report: dict) -> None:
    until("models are found", lambda s: len(s["found"]) >= 3)
    choose(in_tab("menu")[0], 2)
    until("the two experts are chosen", lambda s: s["model"] == "nano/experts", 20)
    screenshot("m0_model")
    click(in_tab("tool")[-2])  # above Assemble Model
    report["defaults"] = until("its defaults", lambda s: s["sampling"]["shift"] == 3, 20)[
        "sampling"
    ]
    report["memory"] = until("the memory is foretold", lambda s: s["memory"])["memory"]
    screenshot("m1_model")


def sets_up_stages(report: dict) -> None:
    tell("only " + " ".join(SCHEDULE))
    choose(in_tab("menu")[0], 1)
    report["stages"] = until("two stages", lambda s: len(s["stages"]) == 2, 20)["stages"]
    tell("steps 12")
    tell("shift 60")
    report["findings"] = until("it is advised against", lambda s: s["findings"])["findings"]
    screenshot("m2_advice")
    while found := state()["findings"]:
        until("the fix is drawn", lambda s: len(in_tab("tool")) > 1, 20)
        click(in_tab("tool")[1])  # below Generate
        until("it is fixed", lambda s, found=found: s["findings"] != found, 20)
    report["fixed"] = state()["sampling"]
    screenshot("m3_schedule")


def generates(report: dict) -> None:
    before = set(state()["strips"])
    click(in_tab("tool")[0])
    until("it denoises", lambda s: running(s) and running(s)[0]["doing"] == "denoising", 240)
    screenshot("m4_running")
    report["strip"] = sorted(
        set(until("the strip is there", lambda s: set(s["strips"]) - before, 240)["strips"])
        - before
    )
    tell("only " + " ".join(RESULTS))
    screenshot("m5_results")
    left, top, right, _ = state()["sidebar"]
    icons = [box for box in buttons("tool") if left < box[0] < right and box[1] > top + 20]
    row = min(icons, key=lambda box: box[1])
    xdotool("mousemove", row[0] + 30, row[1] + row[3] // 2, "sleep", 0.3, "click", 1, "sleep", 1)
    screenshot("m6_report")
    report["longest_ms"] = state()["longest_ms"]


def main() -> None:
    report: dict = {}
    window = ["--gpu-backend", "opengl", "--window-geometry", "0", "0", str(WIDTH), str(HEIGHT)]
    command = ["blender", *window, FOLDER / "shot.blend", "--python", PROBE, "--", FOLDER, *MODEL]
    with open(FOLDER / "blender.log", "w") as log:
        blender = subprocess.Popen([*map(str, command)], stdout=log, stderr=log)
    try:
        until("the Wan tab is open", lambda s: s["engine"] == "stopped", 60)
        chooses_a_model(report)
        sets_up_stages(report)
        generates(report)
    finally:
        blender.kill()
        (FOLDER / "models.json").write_text(json.dumps(report, indent=1))


main()
