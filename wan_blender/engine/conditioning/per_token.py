# SPDX-License-Identifier: GPL-3.0-or-later
"""The 5B model: kept latents are shown clean, and every token is told its own time.

The released code uses this for a given first frame; a time for every token makes it hold for
masks of any shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..models.loading import Bundle
from .scene import Scene
from .text import TextOnly

Tensor = torch.Tensor


class PerToken(TextOnly):
    def __init__(self, bundle: Bundle, scene: Scene) -> None:
        self.clean_tokens = bundle.traits.patch

    def inputs(self, x: Tensor, level: float | Tensor, latents: Sequence[int]) -> dict[str, Any]:
        """``level`` (1, 1, t, h, w) is constant over each token's cells."""
        patch = self.clean_tokens
        times = 1000 * level[0, 0, :, ::patch, ::patch].flatten()
        return {"hidden_states": x, "timestep": times[None]}
