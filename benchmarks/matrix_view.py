# SPDX-License-Identifier: GPL-3.0-or-later
"""How long one update of the matrix view takes while somebody paints, at 832x480."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from tools.hygiene_set.rooms import ROOMS
from wan_blender.hygiene.bands import luminance
from wan_blender.hygiene.blur import radius_map, soften, treat
from wan_blender.hygiene.matrix import analyse, analyse_plane
from wan_blender.hygiene.sinks import find_sinks

RUNS = 15
BUDGET_MS = 100


def measure() -> list[tuple[str, str, str]]:
    picture = ROOMS["bedroom"]().rgb
    plane = luminance(picture)
    radius = np.zeros(plane.shape, np.float32)
    radius[200:400, 300:700] = 1.0
    matrix = analyse(picture)
    sinks = find_sinks(picture, matrix)
    how = f"832x480, {RUNS} runs"
    rows = []
    for name, work in (
        ("matrix view, one update", lambda: analyse_plane(soften(plane, radius))),
        ("treated frame", lambda: soften(picture, radius)),
        ("sink list", lambda: find_sinks(picture, matrix)),
        (f"just-enough blur of {len(sinks)} sinks", lambda: _treat(picture, matrix, sinks)),
    ):
        wall, processor = _time(work)
        rows.append((name, f"{wall:.0f} ms (processor {processor:.0f} ms)", how))
        if name.startswith("matrix"):
            rows.append(("the same / 100 ms", f"{wall / BUDGET_MS:.2f}", how))
    return rows


def _treat(picture: np.ndarray, matrix: object, sinks: list) -> None:
    radius_map(treat(picture, matrix, sinks), picture.shape[:2])


def _time(work: Callable[[], object]) -> tuple[float, float]:
    """Median wall and processor time in milliseconds."""
    walls, processors = [], []
    for _ in range(RUNS):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return 1000 * statistics.median(walls), 1000 * statistics.median(processors)


if __name__ == "__main__":
    for row in measure():
        print(" | ".join(row))
