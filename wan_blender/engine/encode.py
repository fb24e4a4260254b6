# SPDX-License-Identifier: GPL-3.0-or-later
"""What the model works from: embeddings of the prompts, latents of the shot, conditions.

Text and latents are kept between runs by what they were made of (cache.py)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from ..core.settings import Prompt
from .cache import cached
from .conditioning import Condition, Scene, make_condition
from .finite import require_finite
from .frames import vae as codec
from .models.bundle import Bundle
from .plan import Plan
from .sample.loop import MaskedSource, make_noise
from .watch import Watch

Tensor = torch.Tensor


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
