# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
import torch
from diffusers import WanTransformer3DModel


@pytest.fixture(scope="module")
def model():
    """A tiny transformer; tests give back what they change of it."""
    torch.manual_seed(11)
    return WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=32, text_dim=32, freq_dim=64, ffn_dim=128,
        num_layers=2,
    ).eval().requires_grad_(False)  # fmt: skip
