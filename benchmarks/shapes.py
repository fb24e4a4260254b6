# SPDX-License-Identifier: GPL-3.0-or-later
"""Wan's sizes with random weights: the time of a call does not depend on the values in it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers import WanTransformer3DModel

from wan_blender.core.settings import Stage
from wan_blender.engine.sample.loop import MaskedSource, denoise, make_noise
from wan_blender.engine.sample.partial.passes import Passes
from wan_blender.engine.sample.partial.plan import PassPlan, plan_passes
from wan_blender.engine.sample.release import make_law
from wan_blender.engine.sample.windows import Window
from wan_blender.schedule.noise import make_sigmas
from wan_blender.schedule.stages import StageSteps

SHIFT = 5.0


@dataclass(frozen=True)
class Shape:
    """A transformer and the latents (t, h, w) of the clip it sees; ``text`` tokens of a prompt."""

    name: str
    heads: int
    head_dim: int
    ffn: int
    layers: int
    latents: tuple[int, int, int]
    text: int = 512

    @property
    def channels(self) -> int:
        return self.heads * self.head_dim

    @property
    def tokens(self) -> int:
        t, h, w = self.latents
        return t * (h // 2) * (w // 2)

    def teraflops(self, rows: int | None = None) -> float:
        """Of one call that computes ``rows`` tokens, 1e12 operations: products of the blocks with
        their inputs, the prompt's own keys and values left out."""
        d, n = self.channels, self.tokens
        q = n if rows is None else rows
        row = 12 * d * d + 4 * d * self.ffn + 4 * self.text * d + 4 * n * d
        return self.layers * q * row / 1e12


# Tokens, text and feed-forward stand to the channels as in the 14B model at 832x480 and 81 frames,
# so that the products take the same shares of the time. One latent frame: the ring around the mask
# is then as large as that around a mask that stands still for 21 of them.
SCALED_14B = Shape("14B 480p, scaled", 2, 128, 691, 4, (1, 72, 92), 25)


WAN_1_3B = Shape("1.3B 480p", 12, 128, 8960, 30, (21, 60, 104))
WAN_14B = Shape("14B 480p", 40, 128, 13824, 40, (21, 60, 104))
WAN_1_3B_720P = replace(WAN_1_3B, name="1.3B 720p", latents=(21, 90, 160))
WAN_14B_720P = replace(WAN_14B, name="14B 720p", latents=(21, 90, 160))


def random_model(
    shape: Shape, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> WanTransformer3DModel:
    with torch.device(device):
        model = WanTransformer3DModel(
            num_attention_heads=shape.heads,
            attention_head_dim=shape.head_dim,
            ffn_dim=shape.ffn,
            num_layers=shape.layers,
            text_dim=4096 if shape.text == 512 else shape.channels,
        )
    exact = tuple(model._keep_in_fp32_modules)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, 0, 0.02)
        if not any(part in name for part in exact):
            parameter.data = parameter.data.to(dtype)
    return model.eval().requires_grad_(False)


def square_mask(latents: tuple[int, int, int], share: float) -> np.ndarray:
    """(t, h, w): about ``share`` of the tokens, in the middle of every frame, as the frame is."""
    t, h, w = latents
    rows, columns = h // 2, w // 2
    high = min(rows, max(1, round(rows * math.sqrt(share))))
    wide = min(columns, max(1, round(share * rows * columns / high)))
    top, left = (rows - high) // 2, (columns - wide) // 2
    mask = np.zeros((t, rows, columns), np.float32)
    mask[:, top : top + high, left : left + wide] = 1
    return mask.repeat(2, 1).repeat(2, 2)


class Run:
    """A masked run of ``model``, dense or over rows. Called, it gives the denoised latents."""

    def __init__(
        self,
        model: Any,
        shape: Shape,
        compute: str,
        share: float,
        steps: int,
        guidance: float = 1.0,
    ) -> None:
        self.model, self.guidance = model, guidance
        weight = model.patch_embedding.weight
        self.plan = plan_run(shape, compute, share, steps)
        self.passes = Passes(self.plan)
        self.sigmas = make_sigmas("shifted", steps, SHIFT).tolist()
        mask = torch.from_numpy(square_mask(shape.latents, share))[None, None].to(weight.device)
        self.law = make_law("release", mask, self.sigmas, SHIFT)
        size = (1, model.config.in_channels, *shape.latents)
        z, noise = (make_noise(size, seed).to(weight.device) for seed in (1, 2))
        self.source = MaskedSource(z, noise, mask)
        self.given = [call_inputs(model, shape, seed) for seed in (1, 2)]

    @torch.no_grad()
    def __call__(self) -> torch.Tensor:
        self.passes = Passes(self.plan)
        self.passes.begin()
        return denoise(self._predict, self.source, self.sigmas, self.law).x

    def _predict(self, x: torch.Tensor, level: float, step: int) -> torch.Tensor:
        call = self.passes.call(self.model, step)

        def velocity(given: dict[str, torch.Tensor]) -> torch.Tensor:
            shown = x.to(given["hidden_states"].dtype)
            time = torch.full_like(given["timestep"], 1000 * level)
            inputs = {**given, "hidden_states": shown, "timestep": time}
            return call(**inputs, return_dict=False)[0].float()

        wanted = velocity(self.given[0])
        if self.guidance == 1:
            return wanted
        unwanted = velocity(self.given[1])
        return unwanted + self.guidance * (wanted - unwanted)


def plan_run(shape: Shape, compute: str, share: float, steps: int) -> PassPlan:
    masks = [square_mask(shape.latents, share)] * steps
    windows = [Window(0, shape.latents[0], (1.0,) * shape.latents[0])]
    spans = [StageSteps(Stage(), 0, steps, 1.0, "euler")]
    return plan_passes(compute, masks, 2, windows, spans)


def call_inputs(model: Any, shape: Shape, seed: int = 0) -> dict[str, torch.Tensor]:
    """Arguments of one call, on the model's device and in its precision."""
    weight = model.patch_embedding.weight
    generator = torch.Generator().manual_seed(seed)
    clip = torch.randn(1, model.config.in_channels, *shape.latents, generator=generator)
    text = torch.randn(1, shape.text, model.config.text_dim, generator=generator)
    return {
        "hidden_states": clip.to(weight.device, weight.dtype),
        "timestep": torch.tensor([500.0], device=weight.device),
        "encoder_hidden_states": text.to(weight.device, weight.dtype),
    }
