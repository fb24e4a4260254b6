# SPDX-License-Identifier: GPL-3.0-or-later
"""Text, and the guidance around whatever else a condition gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..models.bundle import Bundle
from .scene import Scene

Tensor = torch.Tensor
# Inputs of the transformers that hold one entry for each clip of a batch.
PER_CLIP = ("hidden_states", "timestep", "control_hidden_states", "encoder_hidden_states_image")


class TextOnly:
    """A text-to-video model sees the noisy latents and their noise level. The other conditions
    add to this one.

    ``prefix`` is how many latents the model wants before the clip's own (references);
    ``prefix_latents`` (1, c, prefix, h, w) is their clean content.
    """

    prefix = 0
    prefix_latents: Tensor | None = None
    clean_tokens = 0

    def __init__(self, bundle: Bundle, scene: Scene) -> None:
        pass

    def inputs(self, x: Tensor, level: float | Tensor, latents: Sequence[int]) -> dict[str, Any]:
        """Keyword arguments of the transformer, all but the text. ``latents`` says which of the
        run's latents (prefix included) ``x`` holds, in order."""
        return {"hidden_states": x, "timestep": torch.tensor([1000.0 * level], device=x.device)}


Condition = TextOnly


def _precision(transformer: Callable[..., Any], text: Tensor) -> torch.dtype:
    """What the model of a stage computes in, which is its own and not the run's; the weights of its
    layers may be packed, or float32 in between."""
    embedding = getattr(transformer, "patch_embedding", None)
    return text.dtype if embedding is None else embedding.bias.dtype


def guided_velocity(
    transformer: Callable[..., Any],
    condition: Condition,
    positive: Tensor,
    negative: Tensor,
    guidance: float,
    x: Tensor,
    level: float | Tensor,
    latents: Sequence[int],
    at_once: bool = False,
    see_branches: Callable[[Sequence[int], Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Velocity n - x0 (1, C, t, h, w), float32: v- + guidance (v+ - v-) (arXiv 2207.12598).

    Guidance 1 takes one model call instead of two; ``at_once`` puts the two branches into one
    call, which reads the weights once and takes the activations of both. ``see_branches`` is shown
    ``latents`` and the velocities v+ and v-, where there are two.
    """
    inputs = condition.inputs(x, level, latents)
    dtype = _precision(transformer, positive)
    positive, negative = positive.to(dtype), negative.to(dtype)
    inputs = {k: v if k == "timestep" else v.to(x.device, dtype) for k, v in inputs.items()}

    def velocity(text: Tensor, given: dict[str, Any]) -> Tensor:
        return transformer(**given, encoder_hidden_states=text, return_dict=False)[0].float()

    if guidance == 1:
        return velocity(positive, inputs)
    if at_once:
        both = {k: torch.cat([v, v]) if k in PER_CLIP else v for k, v in inputs.items()}
        wanted, unwanted = velocity(torch.cat([positive, negative]), both).split(1)
    else:
        wanted, unwanted = velocity(positive, inputs), velocity(negative, inputs)
    if see_branches is not None:
        see_branches(latents, wanted, unwanted)
    return unwanted + guidance * (wanted - unwanted)
