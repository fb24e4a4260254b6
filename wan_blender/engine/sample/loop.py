# SPDX-License-Identifier: GPL-3.0-or-later
"""The masked denoise loop.

The source's latents z, the run's noise n and the latent mask live in one value through all
steps, stages and experts. Where the mask is 0 the result equals z exactly, for every solver,
schedule and model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from ...core.registry import find
from .release import Law
from .solvers import SOLVERS, History, Solver, Step, advance, fresh_noise_shares

Tensor = torch.Tensor
# (x, level, step) -> velocity n - x0. The level is sigma, or a map of sigmas where every token has
# its own.
Predict = Callable[[Tensor, "float | Tensor", int], Tensor]


@dataclass
class MaskedSource:
    """What a masked run starts from and keeps: ``z`` and ``noise`` (B, C, t, h, w), ``mask``
    (1, 1, t, h, w) in [0, 1].

    ``clean_tokens`` is for models with a time per token (5B): what is kept is shown clean at
    level 0 instead of noised at the run's level. It holds the cells of a token along each side,
    0 for all other models.
    """

    z: Tensor
    noise: Tensor
    mask: Tensor
    clean_tokens: int = 0

    def noised(self, sigma: float) -> Tensor:
        return sigma * self.noise + (1 - sigma) * self.z


@dataclass
class State:
    """A run between two steps: x at sigmas[step], the noise it carries, the solver's memory."""

    x: Tensor
    noise: Tensor
    step: int = 0
    history: History = field(default_factory=History)


@dataclass(frozen=True)
class Coherence:
    """``steps`` before which the noise of what is kept is asked of ``predict``, which computes
    every cell: one model call more for each. Models with a time per token are shown what is kept
    without noise, so that nothing changes for them."""

    predict: Predict
    steps: range


def make_noise(shape: tuple[int, ...], seed: int, step: int = -1) -> Tensor:
    """Unit Gaussian noise on the CPU, the same on every device. ``step`` >= 0 gives the fresh
    noise of a stochastic solver's step, so that a run can be continued anywhere."""
    generator = torch.Generator().manual_seed((seed + (step + 1) * 0x9E3779B97F4A7C15) % 2**63)
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def denoise(
    predict: Predict,
    source: MaskedSource,
    sigmas: list[float],
    law: Law,
    solver: str = "euler",
    seed: int = 0,
    state: State | None = None,
    stop: int | None = None,
    on_step: Callable[[State], None] = lambda state: None,
    coherence: Coherence | None = None,
) -> State:
    """Run steps ``state.step`` .. ``stop`` of the schedule and return the state reached.

    Each step shows the model the source's own noised latents where m = 0 and pins its clean
    estimate to z there; m is the law's mask of the step. ``on_step`` is called after every step
    and may raise to stop the run. With ``coherence`` what is kept gets its noise from the model.
    Raises InvalidJob for an unknown solver.
    """
    method = find(SOLVERS, solver, "solver")
    state = state or State(source.noised(sigmas[0]), source.noise)
    for step in range(state.step, len(sigmas) - 1 if stop is None else stop):
        sigma, target = sigmas[step], sigmas[step + 1]
        m = law(step)
        if coherence and step in coherence.steps and sigma < 1 and not source.clean_tokens:
            state = cohere(coherence.predict, source, state, m, step, sigma)
        clean = partial(_clean, predict, source, state.noise, m, step)
        x0 = clean(state.x, sigma)
        state = _move(method, state, x0, sigma, target, clean, len(sigmas) - 1 - step, seed)
        on_step(state)
    if state.step == len(sigmas) - 1 and sigmas[-1] == 0:
        state = replace(state, x=torch.where(source.mask == 0, source.z, state.x))
    return state


def cohere(
    predict: Predict, source: MaskedSource, state: State, m: Tensor, step: int, sigma: float
) -> State:
    """The state with noise on what is kept that the model finds consistent with what it makes
    beside it (DInG, arXiv 2512.18365): eps = x + (1 - sigma) v, its own estimate of the noise.

    The run's noise changes by (1 - m) of the difference, and what carries that noise with it, so
    that a soft value is shown at the right level still.
    """
    shown = _shown(source, state.noise, m, state.x, sigma)
    estimate = shown + (1 - sigma) * predict(shown, sigma, step)
    change = (1 - m) * (estimate - state.noise)
    history = replace(state.history)
    if history.base is not None:
        history.base = history.base + history.sigmas[-1] * change
    return State(state.x + sigma * change, state.noise + change, state.step, history)


def _shown(source: MaskedSource, noise: Tensor, m: Tensor, x: Tensor, sigma: float) -> Tensor:
    held = sigma * noise + (1 - sigma) * source.z
    return torch.where(m == 1, x, m * x + (1 - m) * held)


def _clean(
    predict: Predict,
    source: MaskedSource,
    noise: Tensor,
    m: Tensor,
    step: int,
    x: Tensor,
    sigma: float,
) -> Tensor:
    """The clean estimate at ``sigma``: the input pinned to the source, the output to z."""
    if source.clean_tokens:
        return _clean_per_token(predict, source, m, step, x, sigma)
    shown = _shown(source, noise, m, x, sigma)
    x0 = shown - sigma * predict(shown, sigma, step)
    return torch.where(m == 0, source.z, m * x0 + (1 - m) * source.z)


def _clean_per_token(
    predict: Predict, source: MaskedSource, m: Tensor, step: int, x: Tensor, sigma: float
) -> Tensor:
    """Each token at its own level M sigma, M its largest mask: M x + (1-M) z has exactly that
    noise level. The soft value acts there, so the output is only cut, not blended again."""
    token = _largest_of_token(m, source.clean_tokens)
    shown = torch.where(token == 1, x, token * x + (1 - token) * source.z)
    level = token * sigma
    x0 = shown - level * predict(shown, level, step)
    return torch.where(m == 0, source.z, x0)


def _largest_of_token(m: Tensor, patch: int) -> Tensor:
    tokens = torch.nn.functional.max_pool3d(m, (1, patch, patch))
    return tokens.repeat_interleave(patch, -2).repeat_interleave(patch, -1)


def _move(
    solver: Solver,
    state: State,
    x0: Tensor,
    sigma: float,
    target: float,
    clean: Callable[[Tensor, float], Tensor],
    steps_left: int,
    seed: int,
) -> State:
    """The solver's step, and for stochastic solvers fresh noise that the held source gets too:
    both sides of a soft mask then carry the same noise and their blend keeps its level."""
    down = solver.noise_kept(sigma, target)
    history = replace(state.history)  # the state given in stays good to continue from
    if down == target:
        x = solver.move(Step(state.x, x0, sigma, target, history, clean, steps_left))
        return State(x, state.noise, state.step + 1, history)
    fresh = make_noise(tuple(x0.shape), seed, state.step).to(x0)
    keep, add = fresh_noise_shares(down, target)
    x = keep * advance(state.x, x0, sigma, down) + add * fresh
    noise = (keep * down * state.noise + add * fresh) / target if target > 0 else state.noise
    return State(x, noise, state.step + 1, history)
