# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden tensors and a tiny official-layout transformer for tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from safetensors.torch import load_file

GOLDEN = Path(__file__).parents[1] / "golden"


@cache
def golden(name: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / f"{name}.safetensors")


@cache
def golden_transformer() -> WanTransformer3DModel:
    model = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=64,
        text_dim=64,
        ffn_dim=256,
        num_layers=2,
        freq_dim=256,
    )
    weights = dict(golden("wan_t2v_tiny_official_keys"))
    model.load_state_dict(convert_wan_transformer_to_diffusers(weights))
    return model.eval()


def golden_predict(guidance: float = 4.0):
    """Guided velocity of the golden run: (x, sigma, step) -> n - x0."""
    model, g = golden_transformer(), golden("comfy_masked_sampling")

    @torch.no_grad()
    def predict(x, sigma, step):
        time = torch.tensor([1000.0 * sigma])
        wanted = model(x, time, g["text_cond"], return_dict=False)[0]
        unwanted = model(x, time, g["text_uncond"], return_dict=False)[0]
        return unwanted + guidance * (wanted - unwanted)

    return predict
