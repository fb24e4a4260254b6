# SPDX-License-Identifier: GPL-3.0-or-later
"""From a press of Generate in Blender to the first denoise step, engine cold and warm."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.demo import film

ROOT = Path(__file__).parents[1]
RUNS = 3


def measure(blender_python: str) -> list[tuple[str, str, str]]:
    found = [_run(blender_python) for _ in range(RUNS)]
    how = f"{found[0]['frames']} frames {found[0]['size']}, bundled model, {RUNS} runs"
    how += f", {found[0]['version']}"

    def median(what: str, run: int) -> float:
        return statistics.median(times[what][run] for times in found)

    first = "Generate pressed to first denoise step, engine"
    exported = "of it until the shot is exported"
    return [
        (f"{first} cold", f"{median('first_step', 0):.1f} s", how),
        (exported, f"{median('exported', 0):.1f} s", how),
        ("of it the editor waits (a copy is saved)", f"{1000 * median('pressed', 0):.0f} ms", how),
        (f"{first} warm, another seed", f"{median('first_step', 1):.1f} s", how),
        (exported, f"{median('exported', 1):.1f} s", how),
    ]


def _run(blender_python: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        film.film(Path(folder))
        script = [blender_python, str(ROOT / "benchmarks" / "generate_in_blender.py"), folder]
        environment = {
            **os.environ,
            "BLENDER_USER_RESOURCES": f"{folder}/user",
            "WAN_BLENDER_CACHE": f"{folder}/tensors",
            "WAN_ENGINE_PYTHON": sys.executable,
        }
        done = subprocess.run(script, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(measure(sys.argv[1]))
