# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m benchmarks [--only NAME,NAME] PYTHON_WITH_BPY ...: ratios and medians of one run on
this machine.

Prints a table for each benchmark and puts it in the place of its earlier one in
benchmarks/README.md; those that did not run stay as they are, with their date.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path

from . import (
    around,
    compute,
    denoise,
    export,
    generate,
    latency,
    length,
    matrix_view,
    memory,
    start,
)

README = Path(__file__).parent / "README.md"
Row = tuple[str, str, str]
HEAD = """# Benchmarks

Made by `make bench`. Both sides of a ratio run in turn in one process or call, medians are quoted,
and nothing here is asserted by a test: shared machines are noisy. A run replaces the tables of what
it measured (`python -m benchmarks --only around,start`); each says when and where that was.
"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--only", default="", metavar="NAME,NAME")
    parser.add_argument("pythons", nargs="*", help="of environments with bpy")
    asked = parser.parse_args(arguments)
    every = benchmarks(asked.pythons)
    names = asked.only.split(",") if asked.only else list(every)
    if unknown := set(names) - set(every):
        parser.error(f"no {', '.join(sorted(unknown))}; known: {', '.join(every)}")
    for name in names:
        print(f"== {name}", flush=True)
        rows = every[name]()
        for row in rows:
            print("   " + " | ".join(row), flush=True)
        page = README.read_text(encoding="utf-8") if README.is_file() else HEAD
        README.write_text(replaced(page, name, table(rows)), encoding="utf-8")
    return 0


def benchmarks(pythons: list[str]) -> dict[str, Callable[[], list[Row]]]:
    """By name, in the order of the page; those of Blender where there is a Python for them."""
    found: dict[str, Callable[[], list[Row]]] = {
        "denoise": denoise.measure,
        "compute": compute.measure,
        "around": lambda: around.measure(around.BEFORE),
        "start": start.measure,
        "latency": latency.measure,
        "memory": memory.measure,
        "length": length.measure,
        "matrix": matrix_view.measure,
    }
    if pythons:
        found["generate"] = lambda: generate.measure(pythons[0])
        found["export"] = lambda: [row for python in pythons for row in export.measure(python)]
    return found


def table(rows: list[Row]) -> str:
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    lines = [
        f"{datetime.date.today()}, {machine}",
        "",
        "| what | result | how |",
        "|---|---|---|",
        *(f"| {what} | {result} | {how} |" for what, result, how in rows),
    ]
    return "\n".join(lines) + "\n"


def replaced(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` under the heading ``name``, which is added at its end where it is not
    there. A page of another form is begun again."""
    if not page.startswith(HEAD):
        page = HEAD
    section = f"## {name}\n\n{text}"
    pattern = re.compile(rf"^## {re.escape(name)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(page):
        return pattern.sub(lambda _: section + "\n", page, count=1).rstrip() + "\n"
    return f"{page.rstrip()}\n\n{section}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
