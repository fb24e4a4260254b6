# SPDX-License-Identifier: GPL-3.0-or-later
"""Where new frames meet kept ones: Extend and Bridge by the bundled VACE, matched and as they come.

A jump is the mean difference of the frames on both sides of a cut less what the true clip moves
there, in levels of 255. Both outputs are made of the same latents.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.engine.folders import make_job
from tools.train_nano.backgrounds import random_background
from tools.train_nano.continuity import HELD_OUT
from tools.train_nano.vision import psnr
from tools.train_nano.world import DIRECTIONS, Scene, random_shape, render
from wan_blender.core import job as jobs
from wan_blender.core.mask_settings import Output
from wan_blender.engine.conditioning import Scene as Shown
from wan_blender.engine.encode import encode_prompts, encode_source, make_conditions
from wan_blender.engine.fitting import Fitting
from wan_blender.engine.frames.files import read_png
from wan_blender.engine.output import write_frames
from wan_blender.engine.plan import Plan, make_plan
from wan_blender.engine.sample.stage_loop import StageLoop
from wan_blender.engine.watch import Watch

SIZE = (17, 64, 64)
MADE = {"extend by 8": range(9, 17), "bridge": range(5, 13)}
OUTPUTS = {
    "as it comes": Output(feather_px=0),
    "light": Output(feather_px=0, match_cuts="light"),
    "blend": Output(feather_px=0, match_cuts="blend"),
}


def table(clips: int) -> Iterable[str]:
    yield "| task | output | entry jump | exit jump | dB of new frames |"
    yield "|---" * 5 + "|"
    for task, made in MADE.items():
        found = [jumps(number, made) for number in range(clips)]
        for output in OUTPUTS:
            entry, leave, level = np.mean([one[output] for one in found], 0)
            last = f"{leave:.2f}" if made.stop < SIZE[0] else ""
            yield f"| {task} | {output} | {entry:.2f} | {last} | {level:.1f} |"


@torch.no_grad()
def jumps(number: int, made: range) -> dict[str, tuple[float, float, float]]:
    """Of each output: entry jump, exit jump (0 without an exit), dB of the new frames."""
    rng = np.random.default_rng(HELD_OUT + 12_000 + number)
    wall = random_background(rng, SIZE[0])
    way = list(DIRECTIONS)[number % 4]
    scene = Scene(wall, (random_shape(rng, SIZE[0], direction=way, pattern=""),))
    truth = render(scene, *SIZE)
    with tempfile.TemporaryDirectory() as folder:
        plan, latents, watch = _sampled(Path(folder), truth, made, scene.shapes[0].sentence())
        found = {}
        for name, output in OUTPUTS.items():
            job = replace(plan.job, output=output)
            part = Path(folder) / name
            write_frames(replace(plan, job=job), latents, part, False, watch)
            clip = truth.copy()
            for index in made:
                written = read_png(part / jobs.PATCH / jobs.frame_name(index))
                clip[index] = written[..., :3].astype(np.float32) / 255
            found[name] = _measure(clip, truth, made)
    return found


def _sampled(
    folder: Path, truth: np.ndarray, made: range, words: str
) -> tuple[Plan, torch.Tensor, Watch]:
    mask = np.zeros(SIZE, np.uint16)
    mask[made] = 65535
    asked = {"sampling__steps": 20, "sampling__guidance": 3.0, "sampling__shift": 3.0}
    plate = np.rint(truth * 255).astype(np.uint8)
    make_job(folder, plate, mask, prompt__text=words, region__mode="whole", **asked)
    plan, watch = make_plan(folder), Watch(folder)
    with watch.phase("encoding"):
        shown = Shown(plan.shot, plan.region, plan.job.model_mask, watch.check)
        text = encode_prompts(plan.bundle, plan.job.prompt)
        source = encode_source(plan, shown, watch)
        conditions = make_conditions(plan, shown)
    with watch.phase("denoising", plan.steps):
        fitting = Fitting(plan, watch.loading)
        latents = StageLoop(plan, conditions, text, source, fitting, watch).run()
        return plan, latents, watch


def _measure(clip: np.ndarray, truth: np.ndarray, made: range) -> tuple[float, float, float]:
    def jump(at: int) -> float:
        steps = [np.abs(frames[at] - frames[at - 1]).mean() for frames in (clip, truth)]
        return 255 * float(steps[0] - steps[1])

    leave = jump(made.stop) if made.stop < len(clip) else 0.0
    return jump(made.start), leave, psnr(clip[made], truth[made])
