# SPDX-License-Identifier: GPL-3.0-or-later
"""Text, and the guidance around whatever else a condition gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..models.loading import Bundle
from .scene import Scene

Tensor = torch.Tensor


class TextOnly:
    """A text-to-video model sees the noisy latents and their noise level. The other conditions
    add to this one.

    ``prefix`` is how many latents the model wants before the clip's own (references); their
    clean content, where it is given, is ``prefix_latents`` (1, c, prefix, h, w).
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


def guided_velocity(
    transformer: Callable[..., Any],
    condition: Condition,
    positive: Tensor,
    negative: Tensor,
    guidance: float,
    x: Tensor,
    level: float | Tensor,
    latents: Sequence[int],
) -> Tensor:
    """Velocity n - x0 (B, C, t, h, w), float32: v- + guidance (v+ - v-) (arXiv 2207.12598).

    Guidance 1 takes one model call instead of two.
    """
    inputs = condition.inputs(x, level, latents)
    dtype = positive.dtype
    inputs = {k: v if k == "timestep" else v.to(dtype) for k, v in inputs.items()}

    def velocity(text: Tensor) -> Tensor:
        return transformer(**inputs, encoder_hidden_states=text, return_dict=False)[0].float()

    wanted = velocity(positive)
    if guidance == 1:
        return wanted
    unwanted = velocity(negative)
    return unwanted + guidance * (wanted - unwanted)
