# SPDX-License-Identifier: GPL-3.0-or-later
"""How one step is taken from sigma to a lower sigma, given the model's clean estimate x0.

Between two levels x' = (s'/s) x + (1 - s'/s) D is exact when the estimate D is constant; the
higher orders find a better D from earlier steps, as polynomials in lambda = -log sigma. A solver
only ever sees the pinned x0, so it cannot move what is kept. History is plain tensors, so a run
can be stopped and continued. SOLVERS, at the end, has the code behind each name that
core.settings describes:

    euler, heun              dpmpp_2m       arXiv 2211.01095
    res_multistep            arXiv 2308.02157    unipc   arXiv 2302.04867
    lcm, euler_ancestral     stochastic: LCM is arXiv 2310.04378
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

Tensor = torch.Tensor
Evaluate = Callable[[Tensor, float], Tensor]  # (x, sigma) -> pinned x0


@dataclass
class History:
    """Earlier clean estimates and their sigmas, newest last; ``base`` is UniPC's last state."""

    x0: list[Tensor] = field(default_factory=list)
    sigmas: list[float] = field(default_factory=list)
    base: Tensor | None = None
    order: int = 0

    def push(self, x0: Tensor, sigma: float, keep: int) -> None:
        self.x0 = [*self.x0, x0][-keep:]
        self.sigmas = [*self.sigmas, sigma][-keep:]


@dataclass(frozen=True)
class Step:
    """One step from ``sigma`` to ``target``. ``steps_left`` counts it too; ``evaluate`` gives
    pinned clean estimates elsewhere."""

    x: Tensor
    x0: Tensor
    sigma: float
    target: float
    history: History
    evaluate: Evaluate
    steps_left: int


@dataclass(frozen=True)
class Solver:
    """``move`` gives x at the step's target, and may note in the history what later steps need.

    ``noise_kept`` (sigma, target) is the sigma down to which the deterministic part of a step
    goes; fresh noise fills the rest. It is the target itself for deterministic solvers.
    """

    move: Callable[[Step], Tensor]
    noise_kept: Callable[[float, float], float] = lambda sigma, target: target


def advance(x: Tensor, estimate: Tensor, sigma: float, target: float) -> Tensor:
    """The exact move for a constant clean estimate; at target 0 the estimate itself, so that
    the end of a run carries no rounding."""
    return estimate if target == 0 else estimate + (target / sigma) * (x - estimate)


def fresh_noise_shares(down: float, target: float) -> tuple[float, float]:
    """(a, b): x_target = a x_down + b e keeps signal 1 - target and noise level target when e
    is unit Gaussian."""
    a = (1 - target) / (1 - down)
    return a, math.sqrt(max(target**2 - (a * down) ** 2, 0.0))


def _euler(step: Step) -> Tensor:
    return advance(step.x, step.x0, step.sigma, step.target)


def _heun(step: Step) -> Tensor:
    """Trapezoid rule on dx/dsigma = (x - x0) / sigma; the last step is Euler's."""
    x, sigma, target = step.x, step.sigma, step.target
    there = advance(x, step.x0, sigma, target)
    if target == 0:
        return there
    slope = (x - step.x0) / sigma + (there - step.evaluate(there, target)) / target
    return x + slope * (target - sigma) / 2


def _dpmpp_2m(step: Step) -> Tensor:
    sigma, target, history = step.sigma, step.target, step.history
    estimate = step.x0
    if history.x0 and target > 0:
        ratio = math.log(sigma / target) / math.log(history.sigmas[-1] / sigma)
        estimate = step.x0 + (step.x0 - history.x0[-1]) * ratio / 2
    history.push(step.x0, sigma, 1)
    return advance(step.x, estimate, sigma, target)


def _res_multistep(step: Step) -> Tensor:
    x0, sigma, target, history = step.x0, step.sigma, step.target, step.history
    if not history.x0 or target == 0:
        history.push(x0, sigma, 1)
        return advance(step.x, x0, sigma, target)
    h = math.log(sigma / target)
    phi_1 = math.expm1(-h) / -h
    phi_2 = (phi_1 - 1) / -h
    past = phi_2 / (-math.log(history.sigmas[-1] / sigma) / h)
    moved = (target / sigma) * step.x + h * ((phi_1 - past) * x0 + past * history.x0[-1])
    history.push(x0, sigma, 1)
    return moved


def _unipc(step: Step) -> Tensor:
    """Correct the step that led here with the estimate found here, then predict the next."""
    x, x0, sigma, history = step.x, step.x0, step.sigma, step.history
    if history.x0:
        x = _unipc_move(history.base, [*history.x0, x0], [*history.sigmas, sigma], history.order)
    history.push(x0, sigma, 3)
    history.base = x
    history.order = min(len(history.x0), step.steps_left, 3)
    if step.target == 0:
        return x0
    return _unipc_move(x, history.x0, [*history.sigmas, step.target], history.order)


def _unipc_move(base: Tensor, x0: list[Tensor], sigmas: list[float], order: int) -> Tensor:
    """One UniPC update with B(h) = h to the last of ``sigmas``. With as many estimates as
    sigmas it is the corrector (the estimate at the goal is known), else the predictor."""
    goal = sigmas[-1]
    corrector = len(x0) == len(sigmas)
    origin = len(sigmas) - 2
    h = math.log(sigmas[origin] / goal)
    known = x0[: origin + 1]
    ratios = [math.log(sigmas[origin] / sigmas[origin - i]) / h for i in range(1, order)]
    slopes = [(known[origin - i] - known[origin]) / r for i, r in zip(range(1, order), ratios)]
    if corrector:
        ratios, slopes = [*ratios, 1.0], [*slopes, x0[-1] - known[origin]]
    moved = advance(base, known[origin], sigmas[origin], goal)
    for weight, slope in zip(_unipc_weights(ratios, h), slopes):
        moved = moved + h * weight * slope
    return moved


def _unipc_weights(ratios: list[float], h: float) -> list[float]:
    """Solve sum_j r_j^(i-1) w_j = i! phi_{i+1}(-h), i = 1..n; the paper's 1/2 for n = 1."""
    if len(ratios) < 2:
        return [0.5] * len(ratios)
    powers = torch.tensor([[r**i for r in ratios] for i in range(len(ratios))], dtype=torch.float64)
    phi, factorial, targets = math.expm1(-h) / -h - 1, 1, []
    for i in range(1, len(ratios) + 1):
        targets.append(phi * factorial / -h)
        factorial *= i + 1
        phi = phi / -h - 1 / factorial
    return torch.linalg.solve(powers, torch.tensor(targets, dtype=torch.float64)).tolist()


SOLVERS = {
    "euler": Solver(_euler),
    "heun": Solver(_heun),
    "dpmpp_2m": Solver(_dpmpp_2m),
    "res_multistep": Solver(_res_multistep),
    "unipc": Solver(_unipc),
    "lcm": Solver(_euler, lambda sigma, target: 0.0),
    "euler_ancestral": Solver(_euler, lambda sigma, target: target * target / sigma),
}
