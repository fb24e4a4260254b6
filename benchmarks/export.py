# SPDX-License-Identifier: GPL-3.0-or-later
"""Exporting a plate and its matte against Blender's plain render of the same frames."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.demo import film

ROOT = Path(__file__).parents[1]


def measure(blender_python: str) -> list[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        film.film(Path(folder))
        script = [blender_python, str(ROOT / "benchmarks" / "export_in_blender.py"), folder]
        environment = {**os.environ, "BLENDER_USER_RESOURCES": f"{folder}/user"}
        done = subprocess.run(script, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    how = f"{found['frames']} frames {found['size']}, {found['pairs']} pairs, {found['version']}"
    return [("export of plate and matte / plain render of both", f"{found['ratio']:.2f}", how)]


if __name__ == "__main__":
    print(measure(sys.argv[1]))
