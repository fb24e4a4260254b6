# SPDX-License-Identifier: GPL-3.0-or-later
"""make demo: film a little world, mask the moving thing in it, generate another in its place.

    python tools/demo/run.py PYTHON_WITH_BPY [FOLDER]

Leaves in FOLDER, by default demo/out: clip.mp4 (the source), demo.blend with the result strip in
place, before.mkv, after.mkv, mask.mkv (lossless), contact_sheet.png, report.json. Ends with 1 when
anything outside the mask changed, or too little inside.
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
PROMPT = "a blue ring moves right over a striped wall"
LEAST_CHANGED = 0.5  # of the pixels inside the mask


def main(blender_python: str, out: Path = OUT) -> int:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    print("1/4 filming the clip")
    film.film(out)
    print("2/4 building demo.blend and generating in Blender")
    answer = generate(blender_python, out)
    folder = Path(answer["job"])
    print("3/4 writing before, after and mask")
    worst, changed = sheet.write_videos(folder, out)
    print("4/4 drawing the contact sheet")
    sheet.write_sheet(folder, out / "contact_sheet.png")
    report = answer["report"]
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"\nmodel {report['model']['name']}; see {out}/contact_sheet.png and demo.blend")
    return verdict(report["max_diff_outside"], worst, changed)


def verdict(in_strip: int, in_video: int, changed: float) -> int:
    """Print what changed outside and inside the mask; 0 where that is as it must be, else 1."""
    print(
        f"largest difference outside the mask: {in_strip} in the strip, {in_video} in after.mkv; "
        f"inside it {changed:.1%} of the pixels changed"
    )
    if in_strip or in_video:
        print("FAILED: nothing may change outside the mask")
    if changed < LEAST_CHANGED:
        print(f"FAILED: at least {LEAST_CHANGED:.0%} of the pixels inside the mask must change")
    return int(bool(in_strip or in_video) or changed < LEAST_CHANGED)


def generate(blender_python: str, out: Path) -> dict:
    """Build the .blend and run the headless command on it, each in real bpy."""
    environment = {
        **os.environ,
        "WAN_ENGINE_PYTHON": sys.executable,
        "BLENDER_USER_RESOURCES": str(out / ".blender"),
    }
    script = [blender_python, str(ROOT / "tools" / "demo" / "project.py")]
    _run([*script, "build", str(out)], environment)
    answer = json.loads(_run([*script, "generate", str(out), PROMPT], environment))
    shutil.rmtree(out / ".blender", ignore_errors=True)
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
    sys.exit(main(sys.argv[1], *map(Path, sys.argv[2:])))
