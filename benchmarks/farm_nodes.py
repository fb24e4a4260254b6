# SPDX-License-Identifier: GPL-3.0-or-later
"""Two Ray nodes against one, a core each, with real engines and jobs of ten seconds and more.

    python -m benchmarks.farm_nodes [--jobs 8]

The order is 1, 2, 2, 1 nodes, so that another load on the machine meets both alike. Time is from
the first start of a job to the last end of one: engines that start are no part of what nodes add.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.farm.nodes import Nodes
from wan_blender.core import job as jobs
from wan_blender.core.files import JOURNAL_BYTES, read_bytes

from .farm_kills import FARM_PYTHON, REPO

FRAMES, SIDE = 21, 128
ORDER = (1, 2, 2, 1)
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
Row = tuple[str, str, str]


def measure(count: int, steps: int) -> list[Row]:
    spans: dict[int, list[float]] = {1: [], 2: []}
    longest: list[float] = []
    for nodes in ORDER:
        with tempfile.TemporaryDirectory() as folder:
            began, ended = _run(Path(folder) / "b", nodes, count, steps)
        spans[nodes].append(max(ended) - min(began))
        # A node does its share one after the other.
        longest.append(nodes * spans[nodes][-1] / count)
        print(f"{nodes} nodes: {spans[nodes][-1]:.1f} s, {longest[-1]:.1f} s a job", flush=True)
    one, two = (sum(spans[nodes]) for nodes in (1, 2))
    told = f"{one / two:.2f}x ({one / 2:.0f} s, {two / 2:.0f} s)"
    how = f"{count} jobs of {min(longest):.0f} to {max(longest):.0f} s on {os.cpu_count()} cores"
    return [("two Ray nodes / one", told, how)]


def _run(batch: Path, nodes: int, count: int, steps: int) -> tuple[list[float], list[float]]:
    """When jobs began and ended, in seconds of this machine's clock."""
    made = [
        make_job(
            batch / f"{number:02d}", noise_plate(FRAMES, SIDE, SIDE),
            moving_square(FRAMES, SIDE, SIDE, 60), sampling__steps=steps, sampling__seed=number,
        )
        for number in range(count)
    ]  # fmt: skip
    cluster = Nodes(FARM_PYTHON, ONE_THREAD | {"WAN_BLENDER_CACHE": str(batch / ".cache")})
    try:
        cluster.wait_for_head()
        for _ in range(nodes):
            cluster.join()
        command = [FARM_PYTHON, "-m", "wan_blender.farm", "run", batch, "--cpus", "1",
                   "--python", sys.executable, *cluster.words]  # fmt: skip
        subprocess.run(command, cwd=REPO, check=True, stdout=subprocess.DEVNULL)
    finally:
        cluster.close()
    return [_journal(job)[1] for job in made], [_journal(job)[-1] for job in made]


def _journal(job: Path) -> list[float]:
    """When each line was written: after "created" comes the end of the first phase, reading."""
    lines = read_bytes(job / jobs.JOURNAL, JOURNAL_BYTES).splitlines()
    return [json.loads(line)["time"] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    for row in measure(options.jobs, options.steps):
        print(" | ".join(row), flush=True)


if __name__ == "__main__":
    main()
