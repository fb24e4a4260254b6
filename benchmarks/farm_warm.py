# SPDX-License-Identifier: GPL-3.0-or-later
"""What one warm engine saves: the time of a job beyond its denoise and VAE, and parts loaded.

python -m benchmarks.farm_warm [--jobs 20]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from tests.engine.folders import make_job, moving_square, noise_plate
from wan_blender.core.result import RESULT, read_report
from wan_blender.farm.driver import Driver
from wan_blender.farm.engines import Event, LocalEngine
from wan_blender.farm.exports import CellNote

REPO = Path(__file__).parents[1]
FRAMES, SIDE, STEPS = 21, 128, 4
SEEDS = 4  # of each shot: a shot is a plate and a prompt
MODEL_WORK = ("denoising", "encoding", "decoding")  # phases of the denoiser and the VAE
LOADING = re.compile(r"^ *[\d.]+% loading (.+?) 0/\d+")
Row = tuple[str, str, str]


def make_batch(folder: Path, jobs: int, models: tuple[str, ...] = ("",)) -> list[Path]:
    """Jobs of ``models`` in turn."""
    plate, made = noise_plate(FRAMES, SIDE, SIDE), []
    for number in range(jobs):
        shot = number // SEEDS
        made.append(
            make_job(
                folder / f"{number:02d}",
                plate,
                moving_square(FRAMES, SIDE, SIDE, 40 + shot),
                sampling__steps=STEPS,
                sampling__seed=number,
                prompt__text=f"a red ball {shot}",
                model__path=models[number % len(models)],
            )
        )
        CellNote(f"shot {shot}", str(shot)).write(made[-1])
    return made


def measure(jobs: int) -> Iterator[Row]:
    how = f"{jobs} jobs, {FRAMES} frames {SIDE}x{SIDE}, {STEPS} steps, bundled model"
    with tempfile.TemporaryDirectory() as folder:
        alone, _ = _run_each(Path(folder) / "alone", jobs)
        warm, loads = _run_list(Path(folder) / "warm", jobs)
        ratio = f"{warm:.2f} s; `engine run` each {alone:.2f} s; ratio {warm / alone:.3f}"
        yield "a job beyond its denoise and VAE, one engine", ratio, how
        yield "parts loaded, one model", _count(loads), how
        mixed = _drive_mixed(Path(folder) / "mixed", jobs)
        two = f"{jobs} jobs, two models in turn, one engine of `farm run`"
        yield "parts loaded, two models in mixed order", _count(mixed), two


def _count(loads: Counter[str]) -> str:
    return ", ".join(f"{part} {number}" for part, number in sorted(loads.items()))


def _run_each(folder: Path, jobs: int) -> tuple[float, Counter[str]]:
    made = make_batch(folder, jobs)
    with mock.patch.dict(os.environ, {"WAN_BLENDER_CACHE": str(folder / "cache")}):
        runs = [_engine_run(job) for job in made]
    loads = sum((loads for _, loads in runs), Counter[str]())
    return (sum(seconds for seconds, _ in runs) - _model_s(made)) / jobs, loads


def _run_list(folder: Path, jobs: int) -> tuple[float, Counter[str]]:
    made = make_batch(folder, jobs)
    with mock.patch.dict(os.environ, {"WAN_BLENDER_CACHE": str(folder / "cache")}):
        seconds, loads = _engine_run("--batch", folder)
    return (seconds - _model_s(made)) / jobs, loads


def _engine_run(*words: object) -> tuple[float, Counter[str]]:
    """Seconds that the command took, its start included, and the parts that it loaded."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "wan_blender.engine", "run", *map(str, words)],
        cwd=REPO, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    seconds = time.monotonic() - began
    found = filter(None, map(LOADING.match, done.stderr.splitlines()))
    return seconds, Counter(match[1] for match in found)


def _model_s(made: list[Path]) -> float:
    reports = [read_report(job / RESULT).seconds for job in made]
    return sum(seconds.get(phase, 0.0) for seconds in reports for phase in MODEL_WORK)


class _Counting(LocalEngine):
    """Counts what is loaded. A part tells that it loads more than once while it does."""

    def __init__(self, log: Path) -> None:
        self.loads: Counter[str] = Counter()
        self._phase = ""
        super().__init__("engine", Path(sys.executable), log)

    def poll(self) -> Iterator[Event]:
        for event in super().poll():
            if event.kind == "progress" and event.phase != self._phase:
                self._phase = event.phase
                if event.phase.startswith("loading "):
                    self.loads[event.phase.removeprefix("loading ")] += 1
            yield event


def _drive_mixed(folder: Path, jobs: int) -> Counter[str]:
    make_batch(folder, jobs, ("nano/vace", "nano/experts"))
    with mock.patch.dict(os.environ, {"WAN_BLENDER_CACHE": str(folder / "cache")}):
        engine = _Counting(folder / ".log")
    try:
        code = Driver(folder, [engine], _show_failure).run(threading.Event())
        if code:
            raise RuntimeError(f"the batch ended with code {code}")
    finally:
        engine.stop()
    return engine.loads


def _show_failure(folder: str, outcome: str, error: dict[str, str]) -> None:
    if error:
        print(f"{folder} {outcome}: {error['message']}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    for row in measure(parser.parse_args().jobs):
        print(" | ".join(row), flush=True)


if __name__ == "__main__":
    main()
