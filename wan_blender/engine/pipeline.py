# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole job on one page: read, plan, encode, condition, denoise, decode, composite, write."""

from __future__ import annotations

import contextlib
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..core import job as jobs
from ..core.errors import BrokenPromise
from ..core.files import write_json
from ..core.job_pictures import START
from ..core.lock import Claim
from ..core.result import PART, REPORT, list_files, publish, recover_earlier
from ..core.settings import MadeWith, Prompt
from .borrow_run import BORROWED, Borrowing, borrow
from .cache import cached
from .conditioning import Condition, Scene, make_condition
from .conditioning.text import guided_velocity
from .finite import require_finite
from .fitting import Fitting
from .frames import vae as codec
from .hygiene.measure.takes import compare_with
from .insight.attention import BudgetWatch
from .insight.decisions import DecisionWatch
from .insight.result import (
    describe_attention,
    describe_decisions,
    describe_settledness,
    watch_attention,
    watch_decisions,
)
from .models.bundle import Bundle
from .models.held import Held
from .output import write_frames
from .plan import Plan, make_plan
from .report import make_report
from .sample.loop import Coherence, MaskedSource, denoise, make_noise
from .sample.release import make_law
from .sample.solvers import History
from .sample.windows import predict_in_windows
from .start_frame import start_notes
from .watch import Watch

Tensor = torch.Tensor


@torch.no_grad()
def generate(folder: Path, watch: Watch, held: Held | None = None) -> dict[str, Any]:
    """Run the job in ``folder`` and return its report; ``folder``/result appears whole. ``held``
    has parts of models from earlier jobs, and keeps those of this one.

    Raises a WanError; then no result and no half-written file is left.
    """
    jobs.read(folder)  # a folder that holds no job is left as it is
    with Claim(folder) as watch.claim:
        return generate_claimed(folder, watch, held)


def generate_claimed(folder: Path, watch: Watch, held: Held | None = None) -> dict[str, Any]:
    """As ``generate``, for a caller that holds the claim on ``folder``."""
    held = held or Held(keeps=False)
    part = folder / PART
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    recover_earlier(folder)
    try:
        with watch.measure_memory(), held.job():
            with watch.phase("reading", jobs.read(folder).shot.frame_count):
                borrowing = borrow(folder, watch)
            if borrowing is not None and not borrowing.needs_model:
                return _finish_without_model(folder, part, borrowing, watch)
            with watch.phase("reading"):
                shot = None if borrowing is None else borrowing.show(watch.check)
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
                watched = watch_decisions(plan, conditions[0], source)
                budget = watch_attention(plan, conditions[0])
                seen_by = (watched, budget)
                latents = sample(plan, conditions, text, source, fitting, watch, *seen_by)
            with watch.phase("decoding", len(plan.shot)):
                measured = fitting.run(
                    "decoding",
                    lambda: write_frames(plan, latents, part, fitting.memory.tiled_decode, watch),
                )
        with watch.phase("writing"):
            found = measured(watch.check) | describe_hygiene(plan, scene)
            if borrowing is not None:
                found |= borrowing.write(part, watch)
            found |= compare_with(folder, part, watch.check)
            found |= describe_settledness(plan, part)
            found |= describe_decisions(plan, watched, part) | describe_attention(budget)
            found["max_latent_diff_kept"] = largest_kept_difference(latents, source)
        report = make_report(plan, watch) | found
        report["memory"] |= {
            "measures": fitting.memory.measures,
            "measures_taken": fitting.measures,
        }
        if plan.passes:
            report["compute"] = fitting.passes.describe()
        report["loras_skipped"] = fitting.models.skipped
        finish(folder, report, len(plan.shot), watch)
    finally:
        if watch.is_ours:
            shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(folder / BORROWED, ignore_errors=True)
    return report


def _finish_without_model(
    folder: Path, part: Path, borrowing: Borrowing, watch: Watch
) -> dict[str, Any]:
    with watch.phase("writing"):
        found = borrowing.write(part, watch)
    report = borrowing.report(watch) | found
    finish(folder, report, len(borrowing.shot), watch)
    return report


def finish(folder: Path, report: dict[str, Any], frames: int, watch: Watch) -> None:
    """Check, list and publish what was written of the job in ``folder``: then it is done."""
    part = folder / PART
    keep_promise(report, part, frames)
    report["files"] = list_files(part)
    write_json(part / REPORT, report)
    watch.check()
    publish(folder)
    jobs.append_state(folder, "done")


def note_weights(plan: Plan) -> None:
    """Into job.json on the first run; on stderr where a later one has other weights."""
    bundle = plan.bundle
    made_with = MadeWith(bundle.name, bundle.revision, bundle.fingerprint)
    with contextlib.suppress(OSError):  # no reason to fail: another program may hold the file
        jobs.note_weights(plan.folder, made_with)
    for note in plan.weights_notes:
        print(f"Note: {note}", file=sys.stderr, flush=True)


def encode_prompts(bundle: Bundle, prompt: Prompt) -> tuple[list[Tensor], Tensor]:
    """Embeddings (1, L, d) of each section's prompt and of the negative one, cached by encoder,
    tokenizer and words."""

    def embed(words: str) -> Tensor:
        key = ("text", encoder, bundle.dtype, words)
        return cached(lambda: encode(words), *key).to(bundle.device, bundle.dtype)

    def encode(words: str) -> Tensor:
        return require_finite(bundle.encode_text([words]), "The text encoder")

    encoder = bundle.content("text_encoder")
    wanted = [embed(words) for words in prompt.sections or [prompt.text]]
    negative = embed(prompt.negative)
    bundle.unload("text_encoder")
    return wanted, negative


def encode_source(plan: Plan, scene: Scene, watch: Watch) -> MaskedSource:
    """The clean latents of the shot, cached by content, with the run's noise and mask."""
    bundle = plan.bundle
    z = cached(
        lambda: codec.encode(bundle.vae, scene.picture, scene.frames, watch.step),
        "latents",
        bundle.content("vae"),
        plan.region,
        plan.shot.digest(),
    ).to(bundle.device)
    mask = torch.from_numpy(plan.masks.latent)[None, None].to(bundle.device)
    noise = make_noise(tuple(z.shape), plan.job.sampling.seed).to(bundle.device)
    return MaskedSource(z, noise, mask)


def make_conditions(plan: Plan, scene: Scene) -> list[Condition]:
    """What the model is shown at each step; one condition unless hygiene changes it on the way."""
    phases = plan.treatment.phases(plan.steps)
    made = {}
    for phase in dict.fromkeys(phases):
        shown = scene
        if phase != "original":
            look, treated = partial(plan.treatment.see, phase), plan.treatment.content(phase)
            shown = replace(scene, look=look, treated=treated)
        made[phase] = make_condition(plan.bundle, shown)
    return [made[phase] for phase in phases]


def describe_hygiene(plan: Plan, scene: Scene) -> dict[str, Any]:
    """What the model was shown instead of the start frame, for the report; {} for nothing else."""
    if plan.job.hygiene.mode == "off":
        return {}
    start = scene.given(START)
    first = (scene.picture(0), 0) if start is None else (start, START)
    said = plan.treatment.describe(*first, plan.steps)
    said["notes"] += start_notes(plan)
    return {"hygiene": said}


def sample(
    plan: Plan,
    conditions: list[Condition],
    text: tuple[list[Tensor], Tensor],
    source: MaskedSource,
    fitting: Fitting,
    watch: Watch,
    watched: DecisionWatch | None = None,
    budget: BudgetWatch | None = None,
) -> Tensor:
    """The denoised latents (1, c, t, h, w); equal to ``source.z`` where the mask is 0. ``watched``
    and ``budget`` see model calls, and change nothing.

    One state passes through all stages; a stage only changes who predicts and how steps are
    taken, so source, noise, mask and noise level cross every hand-over as they are.
    """
    job = plan.job
    source = with_references(source, conditions[0], job.sampling.seed)
    sigmas = plan.stages.sigmas
    starts = [span.start for span in plan.stages.spans]
    law = make_law(job.mask.law, source.mask, sigmas, job.sampling.shift, job.mask.softness, starts)
    wanted, negative = text
    state, solver = None, ""
    for span in plan.stages.spans:

        def predict(x, level, step, transformer, guidance, direct=False):
            condition = conditions[step]

            def one(x, level, latents, number):
                positive = wanted[number * len(wanted) // len(plan.windows)]
                call = transformer if direct else fitting.passes.call(transformer, step, number)
                if budget and not direct:
                    call = budget.over(call, transformer, step, latents)
                velocity = guided_velocity(
                    call,
                    condition,
                    positive,
                    negative,
                    guidance,
                    x,
                    level,
                    latents,
                    fitting.memory.batch_guidance,
                    watched and watched.see_branches,
                )
                at = f"step {step + 1} of {plan.steps} (noise level {sigmas[step]:.3f})"
                return require_finite(velocity, f"The transformer at {at}", transformer)

            done = step * len(plan.windows)
            return predict_in_windows(
                one, plan.windows, condition.prefix, x, level, lambda n: watch.step(done + n)
            )

        def advance(state, on_step, span=span, predict=predict):
            model = partial(predict, transformer=fitting.use(span), guidance=span.guidance)
            coherence = None
            if coherent := job.sampling.coherent_steps(plan.steps):
                coherence = Coherence(partial(model, direct=True), coherent)
            if watched:
                on_step = watched.after(on_step, partial(model, direct=True))
                model = watched.watch(model, plan.stages.spans.index(span))
            return denoise(
                model,
                source,
                sigmas,
                law,
                span.solver,
                job.sampling.seed,
                state,
                span.stop,
                on_step,
                coherence,
            )

        if state and span.solver != solver:
            state = replace(state, history=History())
        solver = span.solver
        state = fitting.denoise(advance, state)
    fitting.passes.drop()
    fitting.models.unload()
    return state.x[:, :, conditions[0].prefix :]


def with_references(source: MaskedSource, condition: Condition, seed: int) -> MaskedSource:
    """The source with the condition's reference latents in front, generated like the rest: a run
    of less strength starts from them under noise, as from the plate."""
    source = replace(source, clean_tokens=condition.clean_tokens)
    if condition.prefix == 0:
        return source
    z = condition.prefix_latents.to(source.z)
    noise = make_noise(tuple(z.shape), seed ^ 0x5EED).to(source.noise)
    mask = torch.ones_like(source.mask[:, :, :1]).repeat(1, 1, condition.prefix, 1, 1)
    return replace(
        source,
        z=torch.cat([z, source.z], 2),
        noise=torch.cat([noise, source.noise], 2),
        mask=torch.cat([mask, source.mask], 2),
    )


def largest_kept_difference(latents: Tensor, source: MaskedSource) -> float:
    """max |x - z| where the mask is 0: the sampler's promise, measured."""
    return float(torch.where(source.mask == 0, latents - source.z, 0.0).abs().max())


def keep_promise(report: dict[str, Any], part: Path, frames: int) -> None:
    """What is true of every result, looked up before it is called done. Raises BrokenPromise."""
    for name in ("max_diff_outside", "max_latent_diff_kept"):
        if report.get(name, 0) != 0:  # nor NaN; without a model there are no latents
            raise BrokenPromise(
                f"The result is not exact: {name} is {report[name]}, and has to be 0.",
                "This is a bug: please report it with the job's log.",
            )
    written = sum(1 for path in (part / jobs.PATCH).iterdir() if path.stem.isdecimal())
    if written != frames:
        raise BrokenPromise(
            f"The result has {written} frames, the shot {frames}.",
            "This is a bug: please report it with the job's log.",
        )
