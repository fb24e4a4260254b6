# SPDX-License-Identifier: GPL-3.0-or-later
"""The denoising of one job: its stages, one after the other, down one schedule.

One state passes through all stages. A stage only changes who predicts and how steps are taken, so
source, noise, mask and noise level cross every hand-over as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from ...schedule.stages import StageSteps
from ..conditioning import Condition
from ..conditioning.text import guided_velocity
from ..finite import require_finite
from ..fitting import Fitting
from ..insight.observers import Observers
from ..plan import Plan
from ..watch import Watch
from .loop import Coherence, MaskedSource, State, denoise, make_noise
from .release import make_law
from .solvers import History
from .windows import predict_in_windows

Tensor = torch.Tensor
Text = tuple[list[Tensor], Tensor]  # embeddings of each section's prompt, and of the negative one
NOBODY = Observers()


class StageLoop:
    """``run`` denoises. ``conditions`` has one for each step; ``observers`` see the model calls and
    change none."""

    def __init__(
        self,
        plan: Plan,
        conditions: list[Condition],
        text: Text,
        source: MaskedSource,
        fitting: Fitting,
        watch: Watch,
        observers: Observers = NOBODY,
    ) -> None:
        sampling, mask = plan.job.sampling, plan.job.mask
        self.plan, self.conditions, self.fitting, self.watch = plan, conditions, fitting, watch
        self.wanted, self.negative = text
        self.observers = observers
        self.source = with_references(source, conditions[0], sampling.seed)
        starts = [span.start for span in plan.stages.spans]
        released = (self.source.mask, plan.stages.sigmas, sampling.shift, mask.softness)
        self.law = make_law(mask.law, *released, starts)

    def run(self) -> Tensor:
        """The denoised latents (1, c, t, h, w); equal to the source's where the mask is 0."""
        state: State | None = None
        solver = ""
        for span in self.plan.stages.spans:
            if state and span.solver != solver:
                state = replace(state, history=History())
            solver = span.solver
            state = self.fitting.denoise(partial(self._advance, span), state)
        self.fitting.passes.drop()
        self.fitting.models.unload()
        return state.x[:, :, self.conditions[0].prefix :]

    def _advance(
        self, span: StageSteps, state: State | None, on_step: Callable[[State], None]
    ) -> State:
        """From ``state`` to the end of the stage ``span``."""
        predict = partial(self._predict, self.fitting.use(span), span.guidance)
        bare, stage = partial(predict, bare=True), self.plan.stages.spans.index(span)
        coherent = self.plan.job.sampling.coherent_steps(self.plan.steps)
        return denoise(
            self.observers.around_model(predict, stage),
            self.source,
            self.plan.stages.sigmas,
            self.law,
            span.solver,
            self.plan.job.sampling.seed,
            state,
            span.stop,
            self.observers.after_step(on_step, bare),
            Coherence(bare, coherent) if coherent else None,
        )

    def _predict(
        self,
        transformer: Any,
        guidance: float,
        x: Tensor,
        level: float | Tensor,
        step: int,
        bare: bool = False,
    ) -> Tensor:
        """Velocity of the whole clip at ``level``; ``bare`` asks the transformer itself, past what
        is kept between its calls."""
        windows, done = self.plan.windows, step * len(self.plan.windows)
        one = partial(self._predict_window, transformer, guidance, step, bare)
        prefix = self.conditions[step].prefix
        return predict_in_windows(
            one, windows, prefix, x, level, lambda window: self.watch.step(done + window)
        )

    def _predict_window(
        self,
        transformer: Any,
        guidance: float,
        step: int,
        bare: bool,
        x: Tensor,
        level: float | Tensor,
        latents: list[int],
        window: int,
    ) -> Tensor:
        call = transformer
        if not bare:
            call = self.fitting.passes.call(transformer, step, window)
            call = self.observers.around_call(call, transformer, step, latents)
        velocity = guided_velocity(
            call,
            self.conditions[step],
            self.wanted[window * len(self.wanted) // len(self.plan.windows)],
            self.negative,
            guidance,
            x,
            level,
            latents,
            self.fitting.memory.batch_guidance,
            self.observers.see_branches,
        )
        sigma = self.plan.stages.sigmas[step]
        at = f"step {step + 1} of {self.plan.steps} (noise level {sigma:.3f})"
        return require_finite(velocity, f"The transformer at {at}", transformer)


def with_references(source: MaskedSource, condition: Condition, seed: int) -> MaskedSource:
    """The source with the condition's reference latents in front, generated like the rest: a run
    of less strength starts from them under noise, as from the plate."""
    source = replace(source, clean_tokens=condition.clean_tokens)
    if condition.prefix == 0:
        return source
    z = condition.prefix_latents.to(source.z)
    noise = make_noise(tuple(z.shape), seed ^ 0x5EED).to(source.noise)
    mask = torch.ones_like(source.mask[:, :, :1]).repeat(1, 1, condition.prefix, 1, 1)
    return replace(
        source,
        z=torch.cat([z, source.z], 2),
        noise=torch.cat([noise, source.noise], 2),
        mask=torch.cat([mask, source.mask], 2),
    )
