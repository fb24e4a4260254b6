# SPDX-License-Identifier: GPL-3.0-or-later
"""Random masks, models, solvers, stages, windows and compute modes in one warm engine: no pixel and
no latent that is to be kept changes. What was written is compared with the plate here, too, and
the patch over the plate with the full frame."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.engine.folders import make_job
from tests.engine.untrained import write_untrained
from wan_blender.core import job as jobs
from wan_blender.core import protocol, schema
from wan_blender.core.mask_settings import Mask, ModelMask, Output, RegionSettings
from wan_blender.core.result import read_report
from wan_blender.core.settings import Sampling, Stage, Windows
from wan_blender.engine.frames.files import read_png

from .engine import Engine
from .tally import Attempt, Broken, Outcome

COUNT = 10_000
PROMISE = "0 pixels and 0 kept latents change"
MEANS = (
    "`engine serve` with models of every kind with random weights, 1 to 9 frames of 16 to 37 "
    "pixels. Kept latents are as the engine measures them; pixels are compared again by the "
    "campaign, for every matte, and for 8-bit plates the patch over the plate with the full frame. "
    "A refusal is a combination that the engine refuses in a sentence; a run is repeated now and "
    "then and must give the same bytes."
)
KINDS = {"t2v": None, "i2v": None, "vace": None, "ti2v": None, "pair": 0.875}
REPEATED = 0.02  # of the runs
# Of settings that are no choices: what is tried, most of it near what is used.
RANGES: dict[str, list[Any]] = {
    "sampling.seed": [0, 1, 2, 3], "sampling.steps": [1, 2, 2, 3], "sampling.guidance": [1, 1, 5],
    "sampling.shift": [1, 3, 5, 12], "sampling.strength": [1, 1, 0.5, 0.03],
    "sampling.reuse": [0, 0, 0.05, 1], "mask.grow_px": [0, 0, 3, 16, 5, -2],
    "mask.grow_before": [0, 0, 1, 5, -1], "mask.grow_after": [0, 0, 1, 5, -1],
    "mask.softness": [0, 0.25, 1], "model_mask.grow_px": [0, 0, 4, -1],
    "model_mask.start_frames": [1, 0, 2], "model_mask.strength": [1, 0, 0.5, 2],
    "region.context": [0, 0.5, 3], "region.pixels": [0, 0, 256],
    "windows.frames": [0, 0, 5], "windows.overlap": [24, 0, 4],
    "output.feather_px": [0, 1, 1, 3.5, 20],
}  # fmt: skip
GROUPS = {
    "sampling": Sampling, "mask": Mask, "model_mask": ModelMask, "region": RegionSettings,
    "windows": Windows, "output": Output,
}  # fmt: skip
OF_KIND = {  # what only some models heed; asked of others now and then, for the refusal
    "vace": ["model_mask.time", "model_mask.strength"],
    "i2v": ["model_mask.known", "model_mask.start_frames"],
}
MISFIT = 0.02
UNTRIED = {"model_mask.shape": "own"}  # needs a second matte


def random_settings(chance: random.Random, kind: str) -> dict[str, Any]:
    """For a model of ``kind``, by dotted name, with __ for the dot as ``make_job`` takes them."""
    found: dict[str, Any] = {}
    others = [path for name, paths in OF_KIND.items() if name != kind for path in paths]
    for group, kind in GROUPS.items():
        for name, rules in schema.settings(kind):
            path = f"{group}.{name}"
            values = RANGES.get(path, [])
            if rules["kind"] == "choice":
                values = [v for v in rules["choices"] if v != UNTRIED.get(path)]
            elif rules["kind"] == "flag":
                values = [True, False]
            if values and chance.random() < (MISFIT if path in others else 0.5):
                found[path.replace(".", "__")] = chance.choice(values)
    found.setdefault("sampling__steps", 2)
    return found | {"output__full_frames": True}


def random_stages(chance: random.Random, solvers: list[str]) -> list[Stage]:
    if chance.random() < 0.6:
        return []
    return [
        Stage(
            steps=chance.choice([1, 1, 1, 2, 0]),
            end=chance.choice([-1.0, -1.0, 0.3, 0.7]) if number < last else -1.0,
            guidance=chance.choice([-1.0, 1.0, 4.0]),
            solver=chance.choice(["same", *solvers]),
            expert=chance.choice(["auto", "auto", "high", "low"]),
        )
        for last in [chance.randint(0, 2)]
        for number in range(last + 1)
    ]


def random_mask(chance: random.Random, shape: tuple[int, int, int]) -> np.ndarray:
    """(T, H, W) uint16 of one of the shapes that masks have, and of some that they never have."""
    frames, height, width = shape
    rng = np.random.default_rng(chance.getrandbits(32))
    mask = np.zeros(shape, np.uint16)
    ys, xs = sorted(rng.integers(0, height + 1, 2)), sorted(rng.integers(0, width + 1, 2))
    first, last = sorted(rng.integers(0, frames, 2))
    peak = chance.choice([65535, 65535, 65535, 40000, 9000, 2000, chance.choice([1, 1400])])
    match chance.choice(["box", "moving", "pixel", "noise", "soft", "whole", "flash", "ramp"]):
        case "box":
            mask[first : last + 1, ys[0] : ys[1] + 1, xs[0] : xs[1] + 1] = peak
        case "moving":
            for index in range(frames):
                mask[index, ys[0] : ys[0] + 8, (xs[0] + 3 * index) % width :][:, :8] = peak
        case "pixel":
            mask[first, chance.randrange(height), chance.randrange(width)] = peak
        case "noise":
            mask[:] = np.where(rng.random(shape) < 0.05, peak, 0)
        case "soft":
            y, x = np.mgrid[:height, :width]
            far = np.hypot(y - ys[0], x - xs[0]) / (chance.choice([4, 12, 40]))
            mask[:] = np.clip(1 - far, 0, 1) * peak
        case "whole":
            mask[:] = peak
        case "flash":
            mask[chance.randrange(frames), :, : xs[1] + 1] = peak
        case "ramp":
            mask[:] = np.linspace(0, peak, width)
    return mask


def make_random_job(folder: Path, models: dict[str, Path], chance: random.Random) -> Path:
    frames = chance.choice([1, 3, 5, 5, 5, 9])
    height, width = (chance.choice([16, 16, 16, 24, 32, 17, 37]) for _ in range(2))
    dtype, channels = chance.choice([np.uint8, np.uint8, np.uint16]), chance.choice([3, 3, 3, 4])
    rng = np.random.default_rng(chance.getrandbits(32))
    plate = rng.integers(0, np.iinfo(dtype).max, (frames, height, width, channels), dtype, True)
    kind = chance.choice(list(models))
    settings = random_settings(chance, kind) | {"model__path": str(models[kind])}
    mask = random_mask(chance, (frames, height, width))
    if kind == "i2v" and chance.random() < 0.95:
        mask[0] = 0  # its start frame
    solvers = [n for n, r in schema.settings(Sampling) if n == "solver" for n in r["choices"]]
    make_job(folder, plate, mask, **settings)
    if stages := random_stages(chance, solvers):
        job = jobs.read(folder)
        job.stages = stages
        jobs.create(folder, job)
    return folder


def compare(folder: Path) -> None:
    """The plate with what was written. Raises Broken."""
    for plate_file in sorted((folder / jobs.PLATE).iterdir()):
        plate = read_png(plate_file)
        patch = read_png(folder / "result" / jobs.PATCH / plate_file.name)
        frame = read_png(folder / "result" / jobs.FRAMES / plate_file.name)
        outside = patch[..., 3] == 0
        if (frame[outside] != plate[outside]).any():
            raise Broken(f"{plate_file.name}: the full frame differs where the patch is clear")
        if plate.shape[2] == 3 and plate.dtype == np.uint8:
            alpha = patch[..., 3:] / 255
            laid = np.rint(alpha * patch[..., :3] + (1 - alpha) * plate)
            if (laid != frame).any():
                apart = np.abs(laid - frame).max()
                raise Broken(f"{plate_file.name}: patch and full frame differ by {apart:.0f}")
        mask = read_png(folder / jobs.MASK / plate_file.name)
        if jobs.read(folder).output.matte != "footprint" and (patch[..., 3] > 0)[mask == 0].any():
            raise Broken(f"{plate_file.name}: the patch covers what is black in the mask")


def frames_of(folder: Path) -> dict[str, bytes]:
    return {f"{p.parent.name}/{p.name}": p.read_bytes() for p in folder.glob("result/*/*.png")}


@contextmanager
def attempts(work: Path) -> Iterator[Attempt]:
    place = work / "pixels"
    shutil.rmtree(place, ignore_errors=True)
    models = {
        name: write_untrained(place / name, "t2v" if boundary else name, boundary=boundary)
        for name, boundary in KINDS.items()
    }
    engine = Engine(place / "cache")

    def attempt(number: int, chance: random.Random) -> Outcome:
        folder = make_random_job(place / f"job {number}", models, chance)
        answer = engine.run(folder)
        if isinstance(answer, protocol.Failed):
            code = answer.error["code"]
            if code in ("EngineError", "BrokenPromise", "EngineDied", "NotFinite"):
                raise Broken(f"{folder}: {answer.error}")
            shutil.rmtree(folder)
            return Outcome(f"refused ({code})")
        report = read_report(folder / "result")
        for name in ("max_diff_outside", "max_latent_diff_kept"):
            if getattr(report, name) != 0:
                raise Broken(f"{folder}: {name} is {getattr(report, name)}")
        compare(folder)
        if chance.random() < REPEATED:
            before = frames_of(folder)
            engine.run(folder)
            if frames_of(folder) != before:
                raise Broken(f"{folder}: the same run gave other frames")
        shutil.rmtree(folder)  # one that broke is kept
        return Outcome("done", {"engine GB": engine.process.memory_info().rss / 1e9})

    try:
        yield attempt
    finally:
        engine.close()
