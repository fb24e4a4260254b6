# SPDX-License-Identifier: GPL-3.0-or-later
"""Inner Langevin steps with a score that runs both ways, after LanPaint (arXiv 2502.03491).

At each noise level what is generated moves along the model's score, and what is kept along
(1 + lambda) times the source's less lambda times the model's: it goes some way to meet what is made
beside it before it is held again. Overdamped, written from the paper.
"""

from __future__ import annotations

from itertools import pairwise

import torch

from wan_blender.engine.sample.loop import MaskedSource, Predict

LAMBDA, STEP = 4.0, 0.1


def inner_steps(
    predict: Predict, source: MaskedSource, sigmas: list[float], inner: int, seed: int
) -> torch.Tensor:
    """Latents after an Euler run with ``inner`` Langevin steps before each of its own."""
    generator = torch.Generator().manual_seed(seed + 1)
    free, x = source.mask > 0, source.noise
    for number, (sigma, target) in enumerate(pairwise(sigmas)):
        held = source.noised(sigma)
        x = torch.where(free, x, held)
        for _ in range(inner if number else 0):
            model = x + (1 - sigma) * predict(x, sigma, number)
            given = (x - (1 - sigma) * source.z) / sigma
            eps = torch.where(free, model, (1 + LAMBDA) * given - LAMBDA * model)
            fresh = torch.randn(x.shape, generator=generator)
            x = x + sigma * ((2 * STEP) ** 0.5 * fresh - STEP * eps)
        v = predict(x, sigma, number)
        clean = torch.where(free, x - sigma * v, source.z)
        x = clean + target / sigma * (x - clean)
    return torch.where(free, x, source.z)
