# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiny Wans of every layout with weights that make each token depend on all others, and shots."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from diffusers import WanTransformer3DModel, WanVACETransformer3DModel

from wan_blender.core import settings as jobs
from wan_blender.engine.sample.windows import Window
from wan_blender.schedule.stages import StageSteps

KINDS = ("t2v", "i2v", "clip", "vace", "ti2v")
SHAPE = (3, 20, 24)  # latents
_TINY = {
    "num_attention_heads": 2, "attention_head_dim": 32, "text_dim": 32, "freq_dim": 64,
    "ffn_dim": 128,
}  # fmt: skip


@cache
def model(kind: str, seed: int = 0, layers: int = 3) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "vace":
            made = WanVACETransformer3DModel(
                **_TINY, num_layers=layers, vace_layers=[0, 2][:layers]
            )
        else:
            channels = {"t2v": 16, "i2v": 36, "clip": 36, "ti2v": 48}[kind]
            given = {"out_channels": 48 if kind == "ti2v" else 16}
            if kind == "clip":
                given |= {"image_dim": 24, "added_kv_proj_dim": 64}
            made = WanTransformer3DModel(**_TINY, num_layers=layers, in_channels=channels, **given)
        for parameter in made.parameters():
            if parameter.ndim > 1:
                fan = parameter[0].numel()
                torch.nn.init.normal_(parameter, 0, 1.3 / fan**0.5)
    return made.eval().requires_grad_(False)


def inputs(kind: str, seed: int = 0, batch: int = 1, shape: tuple[int, ...] = SHAPE) -> dict:
    """Arguments of a call, all but return_dict."""
    g = torch.Generator().manual_seed(seed)

    def noise(*size: int) -> torch.Tensor:
        return torch.randn(batch, *size, generator=g)

    t, h, w = shape
    tokens = t * (h // 2) * (w // 2)
    # diffusers splits what is behind the first pictures' tokens off as text, 512 of them
    made = {
        "hidden_states": noise(model(kind).config.in_channels, t, h, w),
        "encoder_hidden_states": noise(512 if kind == "clip" else 7, 32),
        "timestep": torch.full((batch,), 1000 * float(torch.rand((), generator=g))),
    }
    if kind == "ti2v":
        made["timestep"] = 1000 * torch.rand(batch, tokens, generator=g)
    if kind == "clip":
        made["encoder_hidden_states_image"] = noise(5, 24)
    if kind == "vace":
        made["control_hidden_states"] = noise(96, t, h, w)
        made["control_hidden_states_scale"] = torch.rand(2, 1, tokens, 1, generator=g)
    return made


def square(shape: tuple[int, ...] = SHAPE, value: float = 1.0) -> np.ndarray:
    """(t, h, w): a square of 4 x 6 cells on every latent but the first."""
    mask = np.zeros(shape, np.float32)
    mask[1:, 4:8, 4:10] = value
    return mask


def whole(latents: int) -> list[Window]:
    return [Window(0, latents, (1.0,) * latents)]


def one_span(steps: int, solver: str = "euler") -> list[StageSteps]:
    return [StageSteps(jobs.Stage(), 0, steps, 1.0, solver)]
