# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole job on one page: read, plan, encode, condition, denoise, decode, composite, write."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..core import job as jobs
from ..core.answers.hygiene import TreatmentReport
from ..core.answers.report import Report
from ..core.errors import BrokenPromise
from ..core.job_pictures import START
from ..core.lock import Claim
from ..core.result import PART, list_files, publish, recover_earlier, write_report
from ..core.settings import MadeWith
from .borrow_run import BORROWED, Borrowing, borrow
from .conditioning import Scene
from .encode import encode_prompts, encode_source, make_conditions
from .fitting import Fitting
from .hygiene.measure.takes import compare_with
from .insight.observers import Observers, observe
from .insight.result import describe_decisions, describe_settledness
from .models.held import Held
from .output import Measure, write_frames
from .plan import Plan, make_plan
from .report import make_report
from .sample.loop import MaskedSource
from .sample.stage_loop import StageLoop
from .start_frame import start_notes
from .watch import Watch

Tensor = torch.Tensor


@torch.no_grad()
def generate(folder: Path, watch: Watch, held: Held | None = None) -> Report:
    """Run the job in ``folder`` and return its report; ``folder``/result appears whole. ``held``
    has parts of models from earlier jobs, and keeps those of this one.

    Raises a WanError; then no result and no half-written file is left.
    """
    jobs.read(folder)  # a folder that holds no job is left as it is
    with Claim(folder) as watch.claim:
        return generate_claimed(folder, watch, held)


def generate_claimed(folder: Path, watch: Watch, held: Held | None = None) -> Report:
    """As ``generate``, for a caller that holds the claim on ``folder``."""
    held = held or Held(keeps=False)
    frames, run = jobs.read(folder).shot.frame_count, None
    with new_result(folder, watch) as part:
        with watch.measure_memory(), held.job():
            with watch.phase("reading", frames):
                borrowing = borrow(folder, watch)
            if borrowing is None or borrowing.needs_model:
                run = run_model(folder, part, borrowing, watch, held)
        with watch.phase("writing"):
            measured = run.measure(watch.check) if run else None
            if borrowing:
                measured = borrowing.write(part, watch)
            found = describe_run(run, folder, part, watch) if run else {}
        report = make_report(run.plan, run.fitting, watch) if run else borrowing.report(watch)
        report = replace(
            report,
            borrow=borrowing.describe() if borrowing else None,
            max_diff_outside=measured.max_diff_outside,
            seam=measured.seam,
            **found,
        )
        return finish(folder, report, frames, watch)


@contextlib.contextmanager
def new_result(folder: Path, watch: Watch) -> Iterator[Path]:
    """Where the result is written before it is published. What is left there in the end goes,
    unless another process has been given the job."""
    part = folder / PART
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    recover_earlier(folder)
    try:
        yield part
    finally:
        if watch.is_ours:
            shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(folder / BORROWED, ignore_errors=True)


@dataclass(frozen=True)
class ModelRun:
    """What the model made, and what is needed to describe it."""

    plan: Plan
    scene: Scene
    fitting: Fitting
    source: MaskedSource
    observers: Observers
    latents: Tensor
    measure: Measure


def run_model(
    folder: Path, part: Path, borrowing: Borrowing | None, watch: Watch, held: Held
) -> ModelRun:
    """From the shot, or what ``borrowing`` leaves of it, to frames in ``part``."""
    with watch.phase("reading"):
        shot = borrowing.show(watch.check) if borrowing else None
        plan = make_plan(folder, watch.loading, watch.check, shot, held)
        note_weights(plan)
        scene = Scene(plan.shot, plan.region, plan.job.model_mask, watch.check)
        fitting = Fitting(plan, watch.loading)
    with watch.phase("text"):
        text = fitting.run("text", lambda: encode_prompts(plan.bundle, plan.job.prompt))
    with watch.phase("encoding", plan.region.grid.latent_shape[0]):
        source = fitting.run("encoding", lambda: encode_source(plan, scene, watch))
    with watch.phase("conditioning"):
        conditions = fitting.run("encoding", lambda: make_conditions(plan, scene))
        plan.bundle.unload("vae")
    with watch.phase("denoising", plan.steps * len(plan.windows)):
        observers = observe(plan, conditions[0], source)
        stages = StageLoop(plan, conditions, text, source, fitting, watch, observers)
        latents = stages.run()
    with watch.phase("decoding", len(plan.shot)):
        measure = fitting.run(
            "decoding",
            lambda: write_frames(plan, latents, part, fitting.memory.tiled_decode, watch),
        )
    return ModelRun(plan, scene, fitting, source, observers, latents, measure)


def describe_run(run: ModelRun, folder: Path, part: Path, watch: Watch) -> dict[str, Any]:
    """Fields of the report that tell what the model was shown and what it made of it; pictures that
    belong to them go into ``part``."""
    return {
        "hygiene": describe_hygiene(run.plan, run.scene),
        "takes": compare_with(folder, part, watch.check),
        "settledness": describe_settledness(run.plan, part),
        "decisions": describe_decisions(run.plan, run.observers.decisions, part),
        "attention": run.observers.attention(),
        "max_latent_diff_kept": largest_kept_difference(run.latents, run.source),
    }


def finish(folder: Path, report: Report, frames: int, watch: Watch) -> Report:
    """Check, list and publish what was written of the job in ``folder``: then it is done. The
    report with that list."""
    part = folder / PART
    keep_promise(report, part, frames)
    report = replace(report, files=list_files(part))
    write_report(part, report)
    watch.check()
    publish(folder)
    jobs.append_state(folder, "done")
    return report


def note_weights(plan: Plan) -> None:
    """Into job.json on the first run; on stderr where a later one has other weights."""
    bundle = plan.bundle
    made_with = MadeWith(bundle.name, bundle.revision, bundle.fingerprint)
    with contextlib.suppress(OSError):  # no reason to fail: another program may hold the file
        jobs.note_weights(plan.folder, made_with)
    for note in plan.weights_notes:
        print(f"Note: {note}", file=sys.stderr, flush=True)


def describe_hygiene(plan: Plan, scene: Scene) -> TreatmentReport | None:
    """What the model was shown instead of the start frame; None for nothing else."""
    if plan.job.hygiene.mode == "off":
        return None
    start = scene.given(START)
    first = (scene.picture(0), 0) if start is None else (start, START)
    said = plan.treatment.describe(*first, plan.steps)
    return replace(said, notes=(*said.notes, *start_notes(plan)))


def largest_kept_difference(latents: Tensor, source: MaskedSource) -> float:
    """max |x - z| where the mask is 0: the sampler's promise, measured."""
    return float(torch.where(source.mask == 0, latents - source.z, 0.0).abs().max())


def keep_promise(report: Report, part: Path, frames: int) -> None:
    """What is true of every result, looked up before it is called done. Raises BrokenPromise."""
    kept = 0 if report.model is None else report.max_latent_diff_kept  # no model, no latents
    promised = {"max_diff_outside": report.max_diff_outside, "max_latent_diff_kept": kept}
    for name, value in promised.items():
        if value != 0:  # nor NaN
            raise BrokenPromise(
                f"The result is not exact: {name} is {value}, and has to be 0.",
                "This is a bug: please report it with the job's log.",
            )
    written = sum(1 for path in (part / jobs.PATCH).iterdir() if path.stem.isdecimal())
    if written != frames:
        raise BrokenPromise(
            f"The result has {written} frames, the shot {frames}.",
            "This is a bug: please report it with the job's log.",
        )
