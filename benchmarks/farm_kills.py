# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch whose engines, nodes and driver are killed at random: every job is to be done once.

    python -m benchmarks.farm_kills [--rounds 20] [--minutes 60] [--jobs 40] [--nodes 3] [--local]

Nodes are Ray's on 127.0.0.1, with an actor and an engine each; with --local the engines are the
driver's own. Engines are the tests' stubs, real processes that claim, work 0.3 s and publish,
without torch. A round is a batch, done to its end.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Protocol

from tests.farm.nodes import Nodes
from wan_blender.core import job as jobs
from wan_blender.core import settings
from wan_blender.core.result import find_result

REPO = Path(__file__).parents[1]
FARM_PYTHON = REPO / ".venv" / "farm" / "bin" / "python"
JOBS_BETWEEN = (1, 6)  # two kills; then a moment of the next job
MOMENT_S = 0.4
STARTING_S = 60.0  # then the next kill comes, whether jobs were done or not
ROUND_S = 300.0  # then the killing ends, and the round may take as long again
LOG = "driver.log"
DRIVER_SHARE = 0.2  # of kills


def make_batch(folder: Path, count: int) -> list[Path]:
    shot = settings.Shot(width=8, height=8, frame_count=1)
    made = []
    for number in range(count):
        path = folder / f"{number:03d}"
        (path / jobs.PLATE).mkdir(parents=True)
        (path / jobs.PLATE / "000000.png").write_bytes(b"png")
        made.append(jobs.create(path, settings.Job(shot, settings.Prompt("work"))))
    return made


def stub_python(folder: Path) -> Path:
    """A Python for the engine that runs the stub."""
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH={REPO} exec "{sys.executable}" -m tests.unit.stub_engine\n'
    )
    python.chmod(0o755)
    return python


class Farm(Protocol):
    """Where a driver finds engines, and what of it can be killed."""

    words: list[str]  # of `farm run`
    python: Path  # that runs the driver

    def victims(self, driver: int) -> list[tuple[str, int]]:
        """(what it is, process) of all that may be killed."""

    def kill(self, kind: str, process: int) -> None: ...
    def close(self) -> None: ...


class LocalFarm:
    python = Path(sys.executable)

    def __init__(self, engines: int) -> None:
        self.words = ["--engines", str(engines)]

    def victims(self, driver: int) -> list[tuple[str, int]]:
        """Engines are started on threads."""
        found: list[str] = []
        for task in Path(f"/proc/{driver}/task").glob("*/children"):
            try:
                found += task.read_text().split()
            except OSError:
                continue
        return [("engine", int(child)) for child in found]

    def kill(self, kind: str, process: int) -> None:
        os.kill(process, signal.SIGKILL)

    def close(self) -> None:
        pass


class RayFarm:
    """A node that was killed is replaced by one that joins."""

    python = FARM_PYTHON

    def __init__(self, count: int) -> None:
        self.nodes = Nodes(FARM_PYTHON)
        self.nodes.wait_for_head()
        self.joined = [self.nodes.join() for _ in range(count)]
        self.words = ["--cpus", "1", *self.nodes.words]

    def victims(self, driver: int) -> list[tuple[str, int]]:
        found = [("node", node.pid) for node in self.joined if self.nodes.of(node, "ray::")]
        for node in self.joined:
            found += [("actor", process) for process in self.nodes.of(node, "ray::Host")]
            found += [("engine", process) for process in self.nodes.of(node, "stub_engine")]
        return found

    def kill(self, kind: str, process: int) -> None:
        if kind != "node":
            os.kill(process, signal.SIGKILL)
            return
        place = next(n for n, node in enumerate(self.joined) if node.pid == process)
        self.nodes.kill(self.joined[place])
        self.joined[place] = self.nodes.join()

    def close(self) -> None:
        self.nodes.close()


def start(farm: Farm, batch: Path, engine: Path) -> subprocess.Popen[bytes]:
    command = [farm.python, "-m", "wan_blender.farm", "run", batch, "--python", engine, *farm.words]
    with open(batch / LOG, "ab") as log:
        return subprocess.Popen(
            command, cwd=REPO, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
        )


def run_round(
    farm: Farm, folder: Path, count: int, rng: random.Random, gaps_ms: list[float]
) -> Counter[str]:
    """What was killed, and how many jobs were done not at all, once, or more often."""
    batch, engine = folder / "b", stub_python(folder)
    made = make_batch(batch, count)
    told: Counter[str] = Counter()
    driver = start(farm, batch, engine)
    deadline = time.monotonic() + ROUND_S
    try:
        while time.monotonic() < deadline:
            _wait_for_jobs(made, driver, rng.randint(*JOBS_BETWEEN))
            if all(map(find_result, made)):
                break
            time.sleep(rng.uniform(0, MOMENT_S))
            if driver.poll() is None:
                _kill_one(farm, driver, rng, told)
            if driver.poll() is not None:
                driver = start(farm, batch, engine)
        if driver.poll() is not None and not all(map(find_result, made)):
            driver = start(farm, batch, engine)
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(ROUND_S)
    finally:
        driver.kill()
        driver.wait()
    for path in made:
        times = len(_runs(path))
        whole = bool(find_result(path))  # 0 times: killed between publishing and counting
        told["lost" if not whole else "once" if times <= 1 else "run again after done"] += 1
    if told["lost"]:
        print((batch / LOG).read_text()[-4000:], flush=True)
    gaps_ms += between_jobs_ms(made)
    return told


def _wait_for_jobs(made: list[Path], driver: subprocess.Popen[bytes], more: int) -> None:
    """Until so many more are done, all are, the driver has ended, or STARTING_S have passed."""
    wanted = min(len(made), sum(map(bool, map(find_result, made))) + more)
    ended = time.monotonic() + STARTING_S
    while sum(map(bool, map(find_result, made))) < wanted and time.monotonic() < ended:
        if driver.poll() is not None:
            return
        time.sleep(0.05)


def _kill_one(
    farm: Farm, driver: subprocess.Popen[bytes], rng: random.Random, told: Counter[str]
) -> None:
    victims: dict[str, list[int]] = defaultdict(list)
    for kind, process in farm.victims(driver.pid):
        victims[kind].append(process)
    if rng.random() < DRIVER_SHARE:
        driver.kill()
        driver.wait()
        told["drivers killed"] += 1
    elif victims:
        kind = rng.choice(sorted(victims))
        try:
            farm.kill(kind, rng.choice(victims[kind]))
        except ProcessLookupError:
            return
        told[f"{kind}s killed"] += 1


def _runs(path: Path) -> list[tuple[str, float, float]]:
    """(process, began, ended) of each time that the job in ``path`` was done."""
    try:
        lines = (path / "finished").read_text().splitlines()
    except OSError:
        return []
    return [(pid, float(began), float(ended)) for pid, began, ended in map(str.split, lines)]


def between_jobs_ms(made: list[Path]) -> list[float]:
    """From the end of each job to the start of the next on the same engine: what the driver, and
    all between it and the engine, take."""
    by_engine: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for path in made:
        for pid, began, ended in _runs(path):
            by_engine[pid].append((began, ended))
    gaps = []
    for spans in by_engine.values():
        spans.sort()
        gaps += [(after[0] - before[1]) * 1e3 for before, after in itertools.pairwise(spans)]
    return gaps


def measure(
    rounds: int, minutes: float, count: int, nodes: int, local: bool
) -> tuple[Counter[str], int, list[float]]:
    """All that was told, of how many rounds, and the milliseconds between jobs."""
    total: Counter[str] = Counter()
    gaps_ms: list[float] = []
    ended, reached = time.monotonic() + 60 * minutes, 0
    farm: Farm = LocalFarm(nodes) if local else RayFarm(nodes)
    try:
        while reached < rounds and time.monotonic() < ended:
            with tempfile.TemporaryDirectory() as folder:
                rng = random.Random(reached)
                told = run_round(farm, Path(folder), count, rng, gaps_ms)
            total += told
            reached += 1
            print(f"round {reached}: {dict(told)}", flush=True)
    finally:
        farm.close()
    return total, reached, gaps_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=60, help="after which no round begins")
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--local", action="store_true", help="engines of the driver, without Ray")
    options = parser.parse_args()
    total, reached, gaps_ms = measure(
        options.rounds, options.minutes, options.jobs, options.nodes, options.local
    )
    print(f"{reached} rounds of {options.jobs} jobs: {dict(total)}")
    if gaps_ms:
        print(f"from done to the next job: {statistics.median(gaps_ms):.1f} ms median")


if __name__ == "__main__":
    main()
