# SPDX-License-Identifier: GPL-3.0-or-later
"""What the model had decided when, cell by cell: collected while a run is sampled.

    drift   |x0(k) - x0(k+1)| / |sigma(k) - sigma(k+1)|: how fast the clean estimate still moves
    gap     |v+ - v-|: how much the prompt has to say there
    probe   |x0((1-sigma) x0 + sigma n, sigma) - x0|: what the model makes of its own estimate under
            other noise (P&P, arXiv 2601.18577): two more evaluations, by the high-noise expert, of
            what it hands over
    energy  of x0, which all of them rise with: diagnosis.py takes it out

All are root mean squares over channels. The estimate is the model's own, before it is pinned to the
source: on the plate, whose content the model is shown, it says how much these signals move where
nothing is to be decided. A step across two stages is not drift: another model looks at the same
thing and sees it otherwise; it is kept apart as ``switch``.

Maps are float16 on the CPU, one for each step: 30 MB for 40 steps of 81 frames at 480p.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..sample.loop import MaskedSource, Predict, State, make_noise

Tensor = torch.Tensor
BOUNDARY = 0.875  # noise level of the hand-over, of a model that has one expert only
PROBE_SEED = 0xDEC1DE


@dataclass
class Signals:
    """Maps (t, h, w) of a run that was sampled at ``sigmas``; those of steps by step number.

    ``handover`` is the last step of the high-noise expert, or the last one at BOUNDARY or above.
    """

    sigmas: list[float]
    handover: int
    drift: dict[int, np.ndarray] = field(default_factory=dict)  # from step k - 1 to k
    switch: dict[int, np.ndarray] = field(default_factory=dict)  # the same, across two stages
    gap: dict[int, np.ndarray] = field(default_factory=dict)
    probe: np.ndarray | None = None
    probe_energy: np.ndarray | None = None
    energy: dict[int, np.ndarray] = field(default_factory=dict)  # mean square of x0
    fine: dict[int, np.ndarray] = field(default_factory=dict)  # of it the finest band in space


class DecisionWatch:
    """Watches the model calls of a run. It returns what the model returns."""

    def __init__(
        self,
        source: MaskedSource,
        prefix: int,
        sigmas: list[float],
        boundary: float | None,
        seed: int,
        probes: bool,
    ) -> None:
        """``source`` has no references yet; ``prefix`` is how many latents of them the run puts in
        front. ``probes`` asks the high-noise expert twice more at the hand-over."""
        at = [k for k, sigma in enumerate(sigmas[:-1]) if sigma >= (boundary or BOUNDARY)]
        self.signals = Signals(sigmas[:-1], at[-1] if at else 0)
        self._source, self._prefix, self._seed, self._probes = source, prefix, seed, probes
        self._done, self._stage = -1, -1
        self._x0: Tensor | None = None
        self._gap: Tensor | None = None
        self._weight = torch.zeros(prefix + source.z.shape[2])

    def watch(self, predict: Predict, stage: int) -> Predict:
        """``predict`` of the stage with that number, watched."""

        def seen(x: Tensor, level: float | Tensor, step: int) -> Tensor:
            first = (
                step > self._done
            )  # Heun looks twice, and after running out of memory it starts over
            self._gap = torch.zeros_like(x[:, 0]) if first else None
            self._weight.zero_()
            velocity = predict(x, level, step)
            if first:
                self._note(x - level * velocity, step, stage)
                self._done = step
            return velocity

        return seen

    def after(self, on_step: Callable[[State], None], direct: Predict) -> Callable[[State], None]:
        """``on_step`` of a stage, watched. ``direct`` is its model without anything that is kept
        between calls."""

        def reached(state: State) -> None:
            on_step(state)
            self._reach(state.x, state.noise, state.step, direct)

        return reached

    def see_branches(self, latents: Sequence[int], wanted: Tensor, unwanted: Tensor) -> None:
        """Velocities (1, C, t, h, w) of both branches over some of the run's latents."""
        if self._gap is not None:
            self._gap[:, list(latents)] += _size(wanted - unwanted).to(self._gap)
            self._weight[list(latents)] += 1

    def _note(self, x0: Tensor, step: int, stage: int) -> None:
        signals, sigmas = self.signals, self.signals.sigmas
        if self._x0 is not None:
            speed = _size(x0 - self._x0) / max(abs(sigmas[step] - sigmas[step - 1]), 1e-6)
            kept = signals.drift if stage == self._stage else signals.switch
            kept[step] = self._keep(speed)
        if self._weight.any():
            weight = self._weight.clamp(min=1).view(1, -1, 1, 1).to(self._gap)
            signals.gap[step] = self._keep(self._gap / weight)
        signals.energy[step] = self._keep(_size(x0) ** 2)
        if step in (signals.handover, len(sigmas) - 1):
            signals.fine[step] = self._keep(_size(x0 - _smooth(x0)) ** 2)
        self._x0, self._stage, self._gap = x0, stage, None

    def _reach(self, x: Tensor, noise: Tensor, step: int, predict: Predict) -> None:
        """The run has reached ``x`` at the noise level of ``step``, carrying ``noise``, by
        ``predict``. At the hand-over this is probed. Models with a time per token are not."""
        source, signals = self._source, self.signals
        asked = self._probes and signals.probe is None and not source.clean_tokens
        if not asked or step != signals.handover + 1 or step >= len(signals.sigmas):
            return
        sigma, seen = signals.sigmas[step], self._see
        fresh = make_noise(tuple(x.shape), self._seed ^ PROBE_SEED, step).to(x)
        first = seen(x, noise, sigma)
        x0 = first - sigma * predict(first, sigma, step - 1)
        again = seen((1 - sigma) * x0 + sigma * fresh, fresh, sigma)
        again = again - sigma * predict(again, sigma, step - 1)
        signals.probe = self._keep(_size(again - x0))
        signals.probe_energy = self._keep(_size(x0) ** 2)

    def _see(self, x: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """What the model is shown of ``x``: the source under ``noise`` where it is kept."""
        source, shown, at = self._source, x.clone(), self._prefix
        held = sigma * noise[:, :, at:] + (1 - sigma) * source.z
        shown[:, :, at:] = torch.where(source.mask == 0, held, shown[:, :, at:])
        return shown

    def _keep(self, size: Tensor) -> np.ndarray:
        """(t, h, w) without references, for the rest of the run."""
        return size[0, self._prefix :].to("cpu", torch.float16).numpy()


def _size(x: Tensor) -> Tensor:
    """Root mean square over channels: (B, C, t, h, w) -> (B, t, h, w)."""
    return x.float().square().mean(1).sqrt()


def _smooth(x: Tensor) -> Tensor:
    """Mean over 3 x 3 cells of each latent; edges repeat."""
    flat = torch.nn.functional.pad(x.flatten(0, 2)[:, None], (1, 1, 1, 1), mode="replicate")
    return torch.nn.functional.avg_pool2d(flat, 3, 1)[:, 0].view_as(x)
