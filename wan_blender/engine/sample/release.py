# SPDX-License-Identifier: GPL-3.0-or-later
"""When is each latent cell set free? The laws of differential diffusion (arXiv 2306.00950).

A mask value is a strength: 1 is generated from the first step, 0 never, 0.5 joins half-way. A law
turns the latent mask and the step into the step's mask m in [0, 1]: m = 1 free, m = 0 held to
the noised source. No law ever frees a cell whose mask is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from ...core.registry import find
from ...schedule.noise import shift_time, unshift

Law = Callable[[int], torch.Tensor]


@dataclass(frozen=True)
class Release:
    """What a law looks at: the latent ``mask``, the run's whole schedule, and the steps
    ``starts`` at which stages begin."""

    mask: torch.Tensor
    sigmas: list[float]
    shift: float
    softness: float
    starts: Sequence[int]


def make_law(
    name: str,
    mask: torch.Tensor,
    sigmas: list[float],
    shift: float,
    softness: float = 0.25,
    starts: Sequence[int] = (0,),
) -> Law:
    """The law ``name`` (one of LAWS) for a latent mask and the run's whole schedule.

    ``softness`` (0..1) is the width of the band in which "release" frees a cell gradually.
    ``starts`` are the steps at which stages begin: "comfy" counts each of them for itself, as two
    samplers after each other do in ComfyUI; the other laws do not see stages. Raises InvalidJob
    for an unknown law.
    """
    return find(LAWS, name, "law")(Release(mask, sigmas, shift, softness, starts))


def _static(run: Release) -> Law:
    return lambda step: run.mask


def _kijai(run: Release) -> Law:
    """Keeps where 1 - m > threshold, strictly; what the last step makes stays."""
    steps, mask = len(run.sigmas) - 1, run.mask
    thresholds = [step / steps for step in range(steps - 1)] + [1.0]
    return lambda step: ((1 - mask <= thresholds[step]) & (mask > 0)).to(mask.dtype)


def _comfy(run: Release) -> Law:
    stages = pairwise([*run.starts, len(run.sigmas) - 1])
    thresholds = [t for a, b in stages for t in _even_sigma(run.sigmas[a : b + 1], run.shift)]
    return _falling(run.mask, thresholds)


def _release(run: Release) -> Law:
    return _falling(run.mask, _even_time(run.sigmas, run.shift), run.softness)


def _falling(mask: torch.Tensor, thresholds: list[float], width: float = 0.0) -> Law:
    """Free what is at least as large as the step's threshold, gradually within ``width``."""

    def at(step: int) -> torch.Tensor:
        threshold = thresholds[step]
        if width == 0:
            free = (mask >= threshold).to(mask.dtype)
        else:
            free = ((mask - threshold * (1 - width)) / width).clamp(0, 1)
        return torch.where(mask > 0, free, 0.0)

    return at


def _even_time(sigmas: list[float], shift: float) -> list[float]:
    """1 at the first step, falling in shift-free time to 0 at the end of the run. Strength < 1
    starts later and so scales the mask: the product of both is the strength of a cell."""
    times = [unshift(s, shift) for s in sigmas[:-1]]
    return [u / times[0] for u in times]


def _even_sigma(sigmas: list[float], shift: float) -> list[float]:
    """1 at the first step of a stage, falling with sigma to 0 at its end, or at the lowest noise
    level that the model was trained on."""
    lowest = max(shift_time(0.001, shift), sigmas[-1])
    if sigmas[0] <= lowest:  # a stage below all that
        lowest = sigmas[-1]
    return [(s - lowest) / (sigmas[0] - lowest) for s in sigmas[:-1]]


LAWS = {"release": _release, "static": _static, "comfy": _comfy, "kijai": _kijai}
