# SPDX-License-Identifier: GPL-3.0-or-later
"""All that is not the model: reading, matching, compositing, writing and measuring of 1080p frames.

    python -m benchmarks.around            the figures of this tree
    python -m benchmarks.around COMMIT     and their ratios to those of an earlier one

Each tree runs in a child of its own, one after the other. Processor time is what the process took
without what its calls of modules took, on one thread of torch. For wall time the model is a wait
of a set length, as a GPU's work is to the processor: the run with the frames' work over the waits
alone.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FRAMES, WIDTH, HEIGHT, RUNS, STEPS = 17, 1920, 1080, 3, 4
# Of a call: a step of the transformer, and a latent of the VAE, as a model that takes longer.
WAITS_S = {"WanVACETransformer3DModel": 2.0, "WanEncoder3d": 0.4, "WanMidBlock": 1.0}
BEFORE = "375b825eaf80"  # the commit before frames were read once, on threads
Row = tuple[str, str, str]


def measure(commit: str = "") -> list[Row]:
    """Rows of the table; with ``commit`` of ratios to it, too, where the repository has it."""
    if commit and subprocess.run(["git", "cat-file", "-e", commit], cwd=ROOT).returncode:
        commit = ""
    with tempfile.TemporaryDirectory() as folder:
        now = _run_tree(ROOT, Path(folder) / "now")
        then = None
        if commit:
            tree = Path(folder) / "tree"
            subprocess.run(
                ["git", "worktree", "add", "--detach", str(tree), commit],
                cwd=ROOT, check=True, capture_output=True,
            )  # fmt: skip
            try:
                then = _run_tree(tree, Path(folder) / "then")
            finally:
                subprocess.run(
                    ["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True
                )
    return _rows(now, then, commit)


def _rows(now: dict[str, Any], then: dict[str, Any] | None, commit: str) -> list[Row]:
    how = f"{FRAMES} frames {WIDTH}x{HEIGHT}, 16 bit, matches and full frames on, {RUNS} runs"
    spent = f"{now['around_s']:.1f} s"
    if then:
        ratio = now["around_s"] / then["around_s"]
        spent += f"; {commit[:9]} {then['around_s']:.1f} s; ratio {ratio:.2f}"
    rows = [("all that is not the model, processor time", spent, how)]
    for key, what in (
        ("wall", "wall time of the run / of its waits for the model"),
        ("second", "second take / first, all phases but denoise and decode"),
    ):
        before = f"; {commit[:9]} {then[key]:.2f}" if then else ""
        rows.append((what, f"{now[key]:.2f}{before}", how))
    return rows


def _run_tree(tree: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    cache = str(folder / "tensors")
    variables = {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1", "WAN_BLENDER_CACHE": cache}
    done = subprocess.run(
        [sys.executable, __file__, "in", str(folder)], env={**os.environ, **variables},
        cwd=folder, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


class ModelTime:
    """What calls of modules take, on the threads that make them: processor time, and time on the
    clock with ``WAITS_S`` added where ``waits`` is set."""

    def __init__(self) -> None:
        self.processor_s = self.clock_s = 0.0
        self.waits = False
        self._local = threading.local()

    def install(self) -> None:
        import torch

        torch.nn.Module.__call__ = self._timed(torch.nn.Module.__call__)

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(module: Any, *args: Any, **kwargs: Any) -> Any:
            if getattr(self._local, "inside", False):
                return call(module, *args, **kwargs)
            self._local.inside = True
            began, clock = time.thread_time(), time.perf_counter()
            try:
                return call(module, *args, **kwargs)
            finally:
                self._local.inside = False
                self.processor_s += time.thread_time() - began
                if self.waits:
                    time.sleep(WAITS_S.get(type(module).__name__, 0.0))
                self.clock_s += time.perf_counter() - clock

        return timed


def run_inside(folder: Path) -> dict[str, Any]:
    """The figures of the tree that Python imports ``wan_blender`` from."""
    import torch

    torch.set_num_threads(1)
    from wan_blender.engine import pipeline
    from wan_blender.engine.models.held import Held
    from wan_blender.engine.watch import Watch

    class PhaseTimes(Watch):
        """Processor time of each phase."""

        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            self.spent: dict[str, float] = defaultdict(float)

        @contextmanager
        def phase(self, name: str, steps: int = 0) -> Iterator[None]:
            began = time.process_time()
            with super().phase(name, steps):
                yield
            self.spent[name] += time.process_time() - began

    held, model = Held(), ModelTime()
    model.install()
    plate, mask = _clip()

    def run(name: str, seed: int = 0) -> tuple[float, float, dict[str, float]]:
        """Processor time but the model's, time over the model's, and the phases'."""
        job = _job(folder / name, plate, mask, seed)
        before = model.processor_s, model.clock_s
        began, clock, watch = time.process_time(), time.perf_counter(), PhaseTimes(job)
        pipeline.generate(job, watch, held)
        around = time.process_time() - began - (model.processor_s - before[0])
        over = (time.perf_counter() - clock) / (model.clock_s - before[1])
        shutil.rmtree(job)
        return around, over, watch.spent

    firsts, seconds, overs = [], [], []
    for number in range(RUNS):
        held.let_go()
        plate[0, 0, 0] = number  # another clip to every cache
        firsts.append(run("first"))
        seconds.append(run("second", seed=1))
    model.waits = True
    for number in range(RUNS):
        plate[0, 0, 1] = number
        overs.append(run("waiting")[1])
    return {
        "around_s": statistics.median(around for around, _, _ in firsts),
        "wall": statistics.median(overs),
        "second": statistics.median(
            _apart(second) / _apart(first)
            for (_, _, first), (_, _, second) in zip(firsts, seconds, strict=True)
        ),
    }


def _apart(phases: dict[str, float]) -> float:
    return sum(spent for name, spent in phases.items() if name not in ("denoising", "decoding"))


def _job(folder: Path, plate: Any, mask: Any, seed: int) -> Path:
    from tests.engine.folders import make_job

    return make_job(
        folder, plate, mask, output__full_frames=True, output__colour_match=True,
        output__grain_match=True, sampling__steps=STEPS, sampling__seed=seed,
    )  # fmt: skip


def _clip() -> tuple[Any, Any]:
    """Soft shapes under grain, moving, and a mask of a tenth of the frame."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    wide = cv2.resize(
        rng.random((12, 24, 3)).astype(np.float32), (WIDTH + 4 * FRAMES, HEIGHT),
        interpolation=cv2.INTER_CUBIC,
    )  # fmt: skip
    grain = rng.normal(0, 0.01, wide.shape).astype(np.float32)
    wide = ((0.2 + 0.6 * wide + grain).clip(0, 1) * 65535).astype(np.uint16)
    plate = np.stack([wide[:, 4 * i : 4 * i + WIDTH] for i in range(FRAMES)])
    mask = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint16)
    for index in range(FRAMES):
        cv2.circle(mask[index], (800 + 8 * index, 520), 256, 65535, -1)
    return plate, mask


if __name__ == "__main__":
    if sys.argv[1:2] == ["in"]:
        print(json.dumps(run_inside(Path(sys.argv[2]))), flush=True)
    else:
        for row in measure(*sys.argv[1:]):
            print(" | ".join(row), flush=True)
