# SPDX-License-Identifier: GPL-3.0-or-later
"""Noise levels: sigma from 1 (noise) to 0 (clean), and the shift that spreads them.

Flow matching: x_sigma = (1 - sigma) x0 + sigma n, velocity = n - x0. Wan shifts an even time u
to sigma = k u / (1 + (k-1) u): the larger k, the more steps at high noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import numpy as np

from ..core.errors import InvalidJob
from ..core.registry import find

TABLE = 1000  # training timesteps of Wan


Level = TypeVar("Level", float, np.ndarray)  # one, or many


def shift_time(u: Level, k: float) -> Level:
    """Even time u in [0, 1] -> sigma."""
    return k * u / (1 + (k - 1) * u)


def unshift(sigma: Level, k: float) -> Level:
    """sigma -> even time u: the inverse of ``shift_time``."""
    return sigma / (k - (k - 1) * sigma)


def make_sigmas(
    schedule: str, steps: int, k: float, strength: float = 1.0, explicit: list[float] | None = None
) -> np.ndarray:
    """``steps + 1`` falling sigmas, the last 0. ``strength`` < 1 starts lower with as many
    steps: "shifted" from u = strength, the table schedules as the end of a finer schedule of
    int(steps / strength) steps (ComfyUI's denoise). ``explicit`` replaces all of it; its first
    value is what the run starts from. Raises InvalidJob, also for an unknown schedule."""
    if explicit:
        return _checked(explicit)
    return find(SCHEDULES, schedule, "schedule")(steps, k, strength)


def _shifted(steps: int, k: float, strength: float) -> np.ndarray:
    return shift_time(np.linspace(strength, 0, steps + 1), k)


def _simple(steps: int, k: float, strength: float) -> np.ndarray:
    return _from_table("simple", _evenly, steps, k, strength)


def _beta(steps: int, k: float, strength: float) -> np.ndarray:
    return _from_table("beta", _at_both_ends, steps, k, strength)


def _from_table(
    name: str, positions: Callable[[int], np.ndarray], steps: int, k: float, strength: float
) -> np.ndarray:
    """Entries of the table of training timesteps, at ``positions`` of the whole schedule."""
    whole = int(steps / strength)
    if whole > TABLE:
        raise InvalidJob(
            f"Schedule {name!r} has {TABLE} entries; {steps} steps at strength {strength:g} "
            f"need {whole}.",
            'Use fewer steps, more strength, or the "shifted" schedule.',
        )
    table = shift_time(np.arange(1, TABLE + 1) / TABLE, k)
    return np.append(table[positions(whole)], 0.0)[-(steps + 1) :]


SCHEDULES = {"shifted": _shifted, "simple": _simple, "beta": _beta}


def _checked(sigmas: list[float]) -> np.ndarray:
    falls = len(sigmas) > 1 and all(a > b for a, b in pairwise(sigmas))
    if not falls or sigmas[0] > 1 or sigmas[-1] != 0:
        raise InvalidJob(
            f"sampling.sigmas is {', '.join(f'{sigma:g}' for sigma in sigmas)}; expected at least "
            "two noise levels that fall from at most 1 to 0.",
            "End the list with 0 and let each value be smaller than the one before.",
        )
    return np.asarray(sigmas, np.float64)


def _evenly(steps: int) -> np.ndarray:
    """Every TABLE/steps-th entry from the top."""
    return TABLE - 1 - (np.arange(steps) * (TABLE / steps)).astype(int)


def _at_both_ends(steps: int) -> np.ndarray:
    """Rounded quantiles of a beta distribution: dense at both ends (arXiv 2407.12173). With many
    steps positions repeat; a repeated one would be a step of length 0 and is moved on."""
    between = (np.arange(TABLE - 1) + 0.5) / (TABLE - 1)  # where rounding changes
    positions = np.searchsorted(_beta_share(between, 0.6, 0.6), 1 - np.arange(steps) / steps)
    room = np.arange(steps)
    return np.clip(np.minimum.accumulate(positions + room) - room, steps - 1 - room, TABLE - 1)


def _beta_share(x: np.ndarray, a: float, b: float) -> np.ndarray:
    """The regularised incomplete beta function I_x(a, b), by its power series (DLMF 8.17.8), which
    converges fast below one half; above, I_x(a, b) = 1 - I_(1-x)(b, a)."""
    upper = x > 0.5
    near, first, other = np.where(upper, 1 - x, x), np.where(upper, b, a), np.where(upper, a, b)
    term = total = np.ones_like(x)
    for n in range(64):
        term = term * near * (a + b + n) / (first + 1 + n)
        total = total + term
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b))
    share = front * near**first * (1 - near) ** other / first * total
    return np.where(upper, 1 - share, share)
