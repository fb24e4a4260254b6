# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch whose engines and driver are killed at random: every job is to be done exactly once.

    python -m benchmarks.farm_kills [--rounds 20] [--jobs 40] [--engines 3]

Engines are the tests' stubs, real processes that claim, work 0.3 s and publish, without torch.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from wan_blender.core import job as jobs
from wan_blender.core import settings
from wan_blender.core.result import find_result

REPO = Path(__file__).parents[1]
PAUSE_S = (0.3, 2.0)  # between two kills
ROUND_S = 300.0


def make_batch(folder: Path, count: int) -> list[Path]:
    shot = settings.Shot(width=8, height=8, frame_count=1)
    made = []
    for number in range(count):
        path = folder / f"{number:03d}"
        (path / jobs.PLATE).mkdir(parents=True)
        (path / jobs.PLATE / "000000.png").write_bytes(b"png")
        made.append(jobs.create(path, settings.Job(shot, settings.Prompt("work"))))
    return made


def start(batch: Path, engines: int) -> subprocess.Popen[bytes]:
    python = batch.parent / "python"
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH={REPO} exec "{sys.executable}" -m tests.unit.stub_engine\n'
    )
    python.chmod(0o755)
    command = [sys.executable, "-m", "wan_blender.farm", "run", batch, "--engines", str(engines)]
    return subprocess.Popen(
        [*command, "--python", python], cwd=REPO,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def children(pid: int) -> list[int]:
    """Of a process of Linux; engines are started on threads."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found


def run_round(folder: Path, count: int, engines: int, rng: random.Random) -> Counter[str]:
    """What was killed, and how many jobs were done not at all, once, or more often."""
    batch = folder / "b"
    made = make_batch(batch, count)
    told: Counter[str] = Counter()
    driver = start(batch, engines)
    deadline = time.monotonic() + ROUND_S
    while not all(map(find_result, made)) and time.monotonic() < deadline:
        time.sleep(rng.uniform(*PAUSE_S))
        if driver.poll() is not None:
            told["starts"] += 1
            driver = start(batch, engines)
            continue
        victims = children(driver.pid)
        if rng.random() < 0.25 or not victims:
            told["drivers killed"] += 1
            driver.kill()
            driver.wait()
        else:
            told["engines killed"] += 1
            try:
                os.kill(rng.choice(victims), signal.SIGKILL)
            except ProcessLookupError:
                told["engines killed"] -= 1
    driver.wait(60)
    for path in made:
        finished = path / "finished"
        times = len(finished.read_text().split()) if finished.exists() else 0
        whole = bool(find_result(path))  # 0 times: killed between publishing and counting
        told["lost" if not whole else "once" if times <= 1 else "run again after done"] += 1
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--engines", type=int, default=3)
    options = parser.parse_args()
    total: Counter[str] = Counter()
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            told = run_round(Path(folder), options.jobs, options.engines, random.Random(number))
        total += told
        print(f"round {number + 1}: {dict(told)}", flush=True)
    print(f"all: {dict(total)}")


if __name__ == "__main__":
    main()
