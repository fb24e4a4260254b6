# SPDX-License-Identifier: GPL-3.0-or-later
"""Wan's sizes with random weights: the time of a call does not depend on the values in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from diffusers import WanTransformer3DModel

from wan_blender.core.settings import Stage
from wan_blender.engine.conditioning.text import TextOnly, guided_velocity
from wan_blender.engine.sample.loop import MaskedSource, denoise, make_noise
from wan_blender.engine.sample.partial.passes import Passes
from wan_blender.engine.sample.partial.plan import plan_passes
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
    """A masked run of ``model``, dense or over rows."""

    def __init__(
        self,
        model: Any,
        shape: Shape,
        compute: str,
        share: float,
        steps: int,
        guidance: float = 1.0,
        at_once: bool = False,
    ) -> None:
        self.model, self.guidance, self.at_once = model, guidance, at_once
        weight = model.patch_embedding.weight
        clip = torch.from_numpy(square_mask(shape.latents, share))[None, None]
        self.sigmas = make_sigmas("shifted", steps, SHIFT).tolist()
        masks = [clip[0, 0].numpy()] * steps
        windows = [Window(0, shape.latents[0], (1.0,) * shape.latents[0])]
        spans = [StageSteps(Stage(), 0, steps, guidance, "euler")]
        self.plan = plan_passes(compute, masks, 2, windows, spans)
        self.passes = Passes(self.plan)
        self.law = make_law("release", clip.to(weight.device), self.sigmas, SHIFT)
        size = (1, model.config.in_channels, *shape.latents)
        z, noise = (make_noise(size, seed).to(weight.device) for seed in (1, 2))
        self.source = MaskedSource(z, noise, clip.to(weight.device))
        words = torch.randn(2, 1, shape.text, model.config.text_dim)
        self.text = words.to(weight.device, weight.dtype)

    @torch.no_grad()
    def __call__(self) -> torch.Tensor:
        """The denoised latents; for ``describe`` of the passes, of this run alone."""
        self.passes = Passes(self.plan)
        self.passes.begin()
        latents = range(self.source.z.shape[2])
        velocity = partial(
            guided_velocity,
            condition=TextOnly(None, None),
            positive=self.text[0],
            negative=self.text[1],
            guidance=self.guidance,
            latents=latents,
            at_once=self.at_once,
        )

        def predict(x: torch.Tensor, level: float, step: int) -> torch.Tensor:
            return velocity(self.passes.call(self.model, step), x=x, level=level)

        return denoise(predict, self.source, self.sigmas, self.law).x
