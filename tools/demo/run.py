# SPDX-License-Identifier: GPL-3.0-or-later
"""make demo: film a little world, mask the moving thing in it, generate another in its place.

    python tools/demo/run.py PYTHON_WITH_BPY

Leaves in demo/out: clip.mp4 (the source), demo.blend with the result strip in place, before.mkv,
after.mkv, mask.mkv (lossless), contact_sheet.png, report.json.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tools.demo import film, sheet  # noqa: E402

OUT = ROOT / "demo" / "out"
PROMPT = "a blue ball moves right over a striped wall"


def main(blender_python: str) -> int:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    print("1/4 filming the clip")
    film.film(OUT)
    print("2/4 building demo.blend and generating in Blender")
    answer = generate(blender_python)
    folder = Path(answer["job"])
    print("3/4 writing before, after and mask")
    worst = sheet.write_videos(folder, OUT)
    print("4/4 drawing the contact sheet")
    sheet.write_sheet(folder, OUT / "contact_sheet.png")
    report = answer["report"]
    (OUT / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(
        f"\nmodel {report['model']['name']}; largest difference outside the mask: "
        f"{report['max_diff_outside']} in the strip, {worst} in after.mkv\n"
        f"see {OUT.relative_to(ROOT)}/contact_sheet.png and demo.blend"
    )
    return 1 if worst or report["max_diff_outside"] else 0


def generate(blender_python: str) -> dict:
    """Build the .blend and run the headless command on it, each in real bpy."""
    environment = {
        **os.environ,
        "WAN_ENGINE_PYTHON": sys.executable,
        "BLENDER_USER_RESOURCES": str(OUT / ".blender"),
    }
    script = [blender_python, str(ROOT / "tools" / "demo" / "project.py")]
    _run([*script, "build", str(OUT)], environment)
    answer = json.loads(_run([*script, "generate", str(OUT), PROMPT], environment))
    shutil.rmtree(OUT / ".blender", ignore_errors=True)
    return answer


def _run(command: list[str], environment: dict[str, str]) -> str:
    """The last line of stdout. Blender's chatter is kept back unless the command fails; our own
    progress passes."""
    child = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    chatter = []
    for line in child.stderr:
        chatter.append(line)
        if line.startswith("wan_blender: "):
            print("\r    " + line.removeprefix("wan_blender: ").strip().ljust(40), end="")
            sys.stdout.flush()
    out = child.stdout.read()
    print("\r" + " " * 44, end="\r")
    if child.wait():
        sys.exit("".join(chatter) + out)
    return out.splitlines()[-1] if out.strip() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
