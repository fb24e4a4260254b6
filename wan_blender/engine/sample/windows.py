# SPDX-License-Identifier: GPL-3.0-or-later
"""Long shots: the model sees overlapping windows, their predictions are blended.

Windows live inside one prediction, so sampler, mask and stages know nothing of them. Latents, not
frames, are windowed; conditions are cut by the same global indices and never resampled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...core.settings import Windows

Tensor = torch.Tensor
# (x of the window, its level, global indices of its latents, window number) -> velocity
PredictWindow = Callable[[Tensor, "float | Tensor", list[int], int], Tensor]


@dataclass(frozen=True)
class Window:
    """Latents ``start`` .. ``stop`` of the clip with the weight of each in the blend; ``anchor``
    is a latent shown before them and thrown away, or None."""

    start: int
    stop: int
    weights: tuple[float, ...]
    anchor: int | None = None


def plan_windows(latents: int, settings: Windows, native_frames: int) -> list[Window]:
    """Windows of equal length with evenly spread starts, ``native_frames`` long if the settings
    leave it to the model. Weights ramp linearly over the overlap that two windows really have, and
    sum to 1 on every latent after ``blend``."""
    length = ((settings.frames or native_frames) - 1) // 4 + 1
    if latents <= length:
        return [Window(0, latents, (1.0,) * latents)]
    overlap = min(-(-settings.overlap // 4), length // 2)
    stride = length - overlap
    count = -(-(latents - length) // stride) + 1
    starts = [round(i * (latents - length) / (count - 1)) for i in range(count)]
    return [_window(starts, i, length, settings.anchor) for i in range(count)]


def _window(starts: list[int], i: int, length: int, anchor: bool) -> Window:
    start, weights = starts[i], [1.0] * length
    if i > 0:
        shared = starts[i - 1] + length - start
        for k in range(shared):
            weights[k] = (k + 1) / (shared + 1)
    if i + 1 < len(starts):
        shared = start + length - starts[i + 1]
        for k in range(shared):
            weights[length - 1 - k] = min(weights[length - 1 - k], (k + 1) / (shared + 1))
    before = start - 1 if anchor and start > 0 else None
    return Window(start, start + length, tuple(weights), before)


def predict_in_windows(
    predict: PredictWindow,
    windows: list[Window],
    prefix: int,
    x: Tensor,
    level: float | Tensor,
    on_window: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Velocity of the whole clip. The first ``prefix`` latents (references) are in every window;
    their predictions are averaged."""
    total = torch.zeros_like(x)
    weight = torch.zeros(x.shape[2], device=x.device)
    for number, window in enumerate(windows):
        own = list(range(prefix + window.start, prefix + window.stop))
        lead = [] if window.anchor is None else [prefix + window.anchor]
        indices = [*range(prefix), *lead, *own]
        part = level[:, :, indices] if isinstance(level, Tensor) else level
        v = predict(x[:, :, indices], part, indices, number)
        shares = torch.tensor(window.weights, device=x.device)
        total[:, :, :prefix] += v[:, :, :prefix]
        weight[:prefix] += 1
        total[:, :, own] += v[:, :, prefix + len(lead) :] * shares.view(1, 1, -1, 1, 1)
        weight[own] += shares
        on_window(number + 1)
    return total / weight.view(1, 1, -1, 1, 1)
