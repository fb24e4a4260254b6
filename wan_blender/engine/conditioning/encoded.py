# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model is shown, encoded, and kept for the next take of the same shot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..cache import cached
from ..frames import vae as codec
from ..models.bundle import Bundle
from .scene import Scene


def encode(
    bundle: Bundle, scene: Scene, what: str, picture: Callable[[int], np.ndarray], frames: int
) -> torch.Tensor:
    """Latents (1, c, t, h, w) of ``picture(0)`` to ``picture(frames - 1)``, which ``what`` names
    and nothing but ``scene`` and the model's kind decides."""

    def compute() -> torch.Tensor:
        return codec.encode(bundle.vae, picture, frames, lambda done: scene.check())

    return kept(compute, scene, what, bundle.content("vae"), bundle.traits).to(bundle.device)


def kept(compute: Callable[[], torch.Tensor], scene: Scene, *key: object) -> torch.Tensor:
    """From the cache, where it was shown before."""
    return cached(compute, "shown", *key, scene.content)
