# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m benchmarks PYTHON_WITH_BPY ...: ratios and medians of one run on this machine.

Prints a table and writes benchmarks/README.md.
"""

from __future__ import annotations

import datetime
import os
import platform
import sys
from pathlib import Path

from . import compute, denoise, export, generate, latency, length, matrix_view, start

README = Path(__file__).parent / "README.md"


def main(*blender_pythons: str) -> int:
    rows = []
    for name, measure in (
        ("denoise loop", denoise.measure),
        ("passes over rows", compute.measure),
        ("latency and memory", latency.measure),
        ("start", start.measure),
        ("generate", lambda: generate.measure(blender_pythons[0])),
        ("long shots", length.measure),
        ("matrix view", matrix_view.measure),
        ("export", lambda: [row for python in blender_pythons for row in export.measure(python)]),
    ):
        print(f"== {name}", flush=True)
        found = measure()
        for row in found:
            print("   " + " | ".join(row), flush=True)
        rows += found
    README.write_text(_page(rows), encoding="utf-8")
    return 0


def _page(rows: list[tuple[str, str, str]]) -> str:
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`. Both sides of a ratio run in turn in one process or call, medians",
        "are quoted, and nothing here is asserted by a test: shared machines are noisy.",
        "",
        f"{datetime.date.today()}, {machine}",
        "",
        "| what | result | how |",
        "|---|---|---|",
        *(f"| {what} | {result} | {how} |" for what, result, how in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
