# SPDX-License-Identifier: GPL-3.0-or-later
"""The 5B model: kept latents are shown clean, and every token is told its own time.

The released code uses this for a given first frame; a time for every token makes it hold for
masks of any shape. Where hygiene treats the pictures, tokens that are kept whole are shown the
treated ones; what the sampler pins stays the source's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..models.bundle import Bundle
from .encoded import encode
from .scene import Scene
from .text import TextOnly

Tensor = torch.Tensor


class PerToken(TextOnly):
    def __init__(self, bundle: Bundle, scene: Scene) -> None:
        self.clean_tokens = bundle.traits.patch
        self.treated: Tensor | None = None
        if scene.look:
            self.treated = encode(bundle, scene, "treated", scene.picture, scene.frames)

    def inputs(self, x: Tensor, level: float | Tensor, latents: Sequence[int]) -> dict[str, Any]:
        """``level`` (1, 1, t, h, w) is constant over each token's cells."""
        patch = self.clean_tokens
        if self.treated is not None:
            x = torch.where(level == 0, self.treated[:, :, list(latents)].to(x), x)
        times = 1000 * level[0, 0, :, ::patch, ::patch].flatten()
        return {"hidden_states": x, "timestep": times[None]}
