# SPDX-License-Identifier: GPL-3.0-or-later
"""All decisions of a run, taken before any weights are read: what ``check`` shows and ``generate``
follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..core import job as jobs
from ..core.errors import InvalidJob, OutOfMemory
from ..core.job_pictures import REFERENCES, pictures
from ..core.mask_settings import RegionSettings
from ..core.settings import Job
from ..masks.crop import grown
from ..model_info.traits import KINDS
from ..schedule.stages import StagePlan, plan_stages
from .conditioning import Scene, require
from .frames.files import ShotFrames
from .frames.masks import MaskExtent, MaskPlan, measure_mask, plan_masks
from .frames.region import Region, plan_region
from .hygiene.pictures import read_treatment
from .hygiene.treatment import Treatment
from .models.bundle import Bundle, open_model
from .models.files.lora_files import lora_file
from .models.held import Held
from .models.memory import (
    Machine,
    MemoryPlan,
    Sizes,
    measure_machine,
    name_device,
    plan_memory,
)
from .models.run_sizes import measure_run, slab_gb
from .models.stage_models import StageModels
from .sample.partial.plan import PassPlan, plan_passes
from .sample.release import make_law
from .sample.windows import Window, plan_windows

KNOWN = 1.3  # times the pixels a model was trained on: more is not known to it


@dataclass(frozen=True)
class Plan:
    folder: Path
    job: Job
    shot: ShotFrames
    bundle: Bundle
    region: Region
    treatment: Treatment
    masks: MaskPlan
    stages: StagePlan
    windows: list[Window]
    machine: Machine
    sizes: Sizes
    memory: MemoryPlan
    passes: PassPlan | None  # None: every call computes all, and nothing is kept
    notes: list[str]  # what the model is not told, in words

    @property
    def steps(self) -> int:
        return len(self.stages.sigmas) - 1

    @property
    def price(self) -> float:
        """What the model's calls at one step cost, in operations of a layer."""
        config = self.bundle.parts["transformer"].config
        channels = config["num_attention_heads"] * config["attention_head_dim"]
        row = 12 * channels + 4 * config["ffn_dim"]  # of a token; attention is for each other one
        tokens = tokens_of(self.region, self.windows)
        calls = sum(n * channels * (row + 4 * n) for n in tokens)
        return calls * (self.passes.predicted if self.passes else 1.0)

    @property
    def weights_notes(self) -> list[str]:
        """What is to be known where the job was first run with other weights than it has here."""
        made, here = self.job.made_with, self.bundle
        if made.fingerprint in ("", here.fingerprint):
            return []
        return [
            f"The job was first run with {made.name} (fingerprint {made.fingerprint[:12]}); here "
            f"it has {here.name} (fingerprint {here.fingerprint[:12]}). The same settings can "
            "give other pixels."
        ]


def make_plan(
    folder: Path,
    on_part: Callable[[str], None] | None = None,
    check: Callable[[], None] = lambda: None,
    shot: ShotFrames | None = None,
    held: Held | None = None,
) -> Plan:
    """Read and check the job in ``folder``. Raises the WanError that running it would raise, and
    what ``check`` raises, which is called for each frame read, now and later. ``shot`` stands for
    the job's own where some of it was filled before; ``held`` has parts of earlier jobs."""
    job = jobs.read(folder)
    shot = shot or ShotFrames(folder, job, check)
    shot.check_plate()
    extent = measure_mask(shot)
    bundle = open_model(job.model.path, job.model.device, job.model.dtype, on_part, held=held)
    bundle.read_tokenizer()

    def plan(region: RegionSettings) -> Plan:
        return _plan_on(region, folder, job, shot, extent, bundle, check)

    crop = plan(job.region)
    return with_context(crop, plan) if job.region.mode == "context" else crop


def _plan_on(
    settings: RegionSettings,
    folder: Path,
    job: Job,
    shot: ShotFrames,
    extent: MaskExtent,
    bundle: Bundle,
    check: Callable[[], None],
) -> Plan:
    canvas = (shot.width, shot.height)
    box = grown(extent.box, job.mask.grow_px, canvas)
    region = plan_region(len(shot), canvas, box, settings, bundle.traits)
    notes = require(bundle.name, bundle.traits, Scene(shot, region, job.model_mask, check))
    if job.sampling.seam == "coherent" and KINDS[bundle.traits.kind].condition == "per_token":
        notes = [*notes, f"{bundle.name} is shown what is kept without noise: seam does nothing."]
    treatment = read_treatment(folder, job, region, bundle.traits.kind)
    masks = plan_masks(shot, extent, region, job.mask)
    stages = plan_stages(job.sampling, job.stages, bundle.traits.boundary)
    windows = plan_windows(region.grid.latent_shape[0], job.windows, bundle.traits.native_frames)
    _check_sections(job, windows)
    phases = treatment.phases(len(stages.sigmas) - 1)
    references = len(pictures(folder, job.model_mask, REFERENCES))
    passes = plan_run_passes(job, bundle, masks.latent, stages, windows, phases, references)
    machine, sizes, memory = fit_memory(
        job, bundle, region, stages, windows, len(set(phases)), passes.kept_tokens if passes else 0
    )
    return Plan(
        folder,
        job,
        shot,
        bundle,
        region,
        treatment,
        masks,
        stages,
        windows,
        machine,
        sizes,
        memory,
        passes,
        notes,
    )


def _check_sections(job: Job, windows: list[Window]) -> None:
    if len(job.prompt.sections) > len(windows):
        raise InvalidJob(
            f"prompt.sections has {len(job.prompt.sections)} prompts, the shot is sampled in "
            f"{len(windows)} windows.",
            "Use fewer sections, or a smaller windows.frames.",
        )


def with_context(crop: Plan, plan: Callable[[RegionSettings], Plan]) -> Plan:
    """The plan of the whole frame at the scale of ``crop``, where passes over rows of it take no
    longer than a dense run of the crop would and the model knows frames of that size; else
    ``crop``. Either says so in its notes. What the machine has free does not matter: a job has the
    same pixels everywhere."""
    region, traits = crop.region, crop.bundle.traits
    scale = region.grid.width / region.width
    pixels = round(crop.shot.width * crop.shot.height * scale**2)
    if region.width * region.height == crop.shot.width * crop.shot.height:
        return crop
    if crop.job.sampling.compute == "dense":
        why = "every step computes all of it"
    elif pixels > KNOWN * traits.native_pixels:
        why = f"it would be {pixels / traits.native_pixels:.1f} times what the model knows"
    else:
        whole = plan(RegionSettings(mode="whole", pixels=pixels))
        ratio = whole.price / (crop.price / (crop.passes.predicted if crop.passes else 1.0))
        if ratio <= 1:
            note = f"The model sees the whole frame, for {ratio:.2f} of what its crop would take."
            return replace(whole, notes=[*whole.notes, note])
        why = f"it would take {ratio:.2f} times as long as the crop"
    return replace(crop, notes=[*crop.notes, f"The model sees a crop: of the whole frame, {why}."])


def plan_run_passes(
    job: Job,
    bundle: Bundle,
    latent: np.ndarray,
    stages: StagePlan,
    windows: list[Window],
    phases: Sequence[str],
    references: int = 0,
) -> PassPlan | None:
    """What is computed at each step of a run that generates ``latent`` (t, h, w) and is shown
    ``phases`` of hygiene and so many ``references``; None where every step computes all."""
    if job.sampling.compute == "dense" and not job.sampling.reuse:
        return None
    mask, sigmas = torch.from_numpy(latent), stages.sigmas
    starts = [span.start for span in stages.spans]
    law = make_law(job.mask.law, mask, sigmas, job.sampling.shift, job.mask.softness, starts)
    return plan_passes(
        job.sampling.compute,
        [law(step).numpy() for step in range(len(phases))],
        bundle.traits.patch,
        windows,
        stages.spans,
        references,
        frozenset(s for s in range(1, len(phases)) if phases[s] != phases[s - 1]),
        job.sampling.reuse,
    )


def fit_memory(
    job: Job,
    bundle: Bundle,
    region: Region,
    stages: StagePlan,
    windows: list[Window],
    conditions: int = 1,
    kept_tokens: int = 0,
    elsewhere_gb: float = 0.0,
) -> tuple[Machine, Sizes, MemoryPlan]:
    """What the machine has, what the run takes, and how the one is made to fit the other;
    ``conditions`` is how many the run holds, ``kept_tokens`` of how many tokens keys and values
    are kept between steps, ``elsewhere_gb`` what another process holds on the device and would let
    go of. Raises OutOfMemory for a shot whose latents alone do not fit, and WrongModel or
    WeightsMissing for stages' models and LoRAs that do not."""
    machine = bundle.held.beside(measure_machine(bundle.device), name_device(bundle.device))
    machine = replace(machine, device_gb=machine.device_gb + elsewhere_gb)
    latents = _check_length(region, bundle, machine, conditions)
    size = (region.grid.padded_height, region.grid.padded_width)
    tokens = max(tokens_of(region, windows))
    models = StageModels(bundle, job.model, job.loras, stages)
    loras = _loras_gb(models, stages)
    models.check_loras()
    sizes = measure_run(bundle, tokens, *size, loras, latents)
    for other in models.bundles:
        needed = measure_run(other, tokens, *size, loras)
        larger = ("call", "work", "quantised_work")
        most = {name: max(getattr(needed, name), getattr(sizes, name)) for name in larger}
        sizes = replace(sizes, **most)
        if needed.transformer > sizes.transformer:
            held = {"transformer": needed.transformer, "quantised": needed.quantised}
            sizes = replace(sizes, blocks=needed.blocks, **held)
    guided = any(span.guidance != 1 for span in stages.spans)
    kept = kept_tokens * (2 if guided else 1)
    slab = max(slab_gb(b, kept) for b in (bundle, *models.bundles))
    sizes = replace(sizes, slab=slab)
    return machine, sizes, plan_memory(machine, sizes, guided)


def _loras_gb(models: StageModels, stages: StagePlan) -> float:
    """What the LoRAs of one stage take, where they take most. Raises WeightsMissing or
    UnsafeWeights for a file that cannot be used."""
    sizes = [
        sum(lora_file(use.file).stat().st_size for use in models.loras(span))
        for span in stages.spans
    ]
    return max(sizes, default=0) / 1e9


def _check_length(region: Region, bundle: Bundle, machine: Machine, conditions: int) -> float:
    """A long shot is windowed and streamed, but its latents are held: source, noise, state,
    estimates and the solver's memory of them, and what the model is conditioned with. In GB."""
    (t, h, w), traits = region.grid.latent_shape, bundle.traits
    condition = traits.in_channels - traits.latent_channels + (96 if traits.has_vace else 0)
    channels = 10 * traits.latent_channels + conditions * condition
    needed = 4e-9 * channels * t * h * w
    free = min(machine.device_gb, machine.ram_gb)
    if needed > free:
        raise OutOfMemory(
            f"{region.grid.frames} frames at {region.grid.padded_width}x"
            f"{region.grid.padded_height} need {needed:.1f} GB for their latents alone; "
            f"{free:.1f} GB are free.",
            "Cut the strip into shorter ones, or give the model a smaller region.",
        )
    return needed


def tokens_of(region: Region, windows: list[Window]) -> list[int]:
    """Model tokens of each window."""
    _, h, w = region.grid.latent_shape
    tokens = (h // region.grid.patch) * (w // region.grid.patch)
    return [tokens * (w.stop - w.start + (w.anchor is not None)) for w in windows]
