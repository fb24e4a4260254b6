# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
import torch
from diffusers import WanTransformer3DModel

from tests.engine.models.layouts import save_text_encoder, save_vae
from tests.engine.untrained import write_untrained


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """kind -> a tiny model of that kind in diffusers layout; never written to by tests."""
    root = tmp_path_factory.mktemp("models")
    made = {kind: write_untrained(root / kind, kind) for kind in ("t2v", "i2v", "vace", "ti2v")}
    made["pair"] = write_untrained(root / "pair", "t2v", boundary=0.875)
    return made


@pytest.fixture(scope="session")
def wide():
    """A transformer whose rows are whole GGUF super-blocks (256 weights)."""
    torch.manual_seed(7)
    return WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=128, text_dim=32, freq_dim=64, ffn_dim=256,
        num_layers=2,
    ).eval()  # fmt: skip


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def encoders(folders, tmp_path):
    """VAE and text encoder with its tokenizer as single files in tmp_path/encoders."""
    save_vae(folders, tmp_path / "encoders" / "vae.safetensors")
    save_text_encoder(folders, tmp_path / "encoders" / "umt5.safetensors")
    return tmp_path / "encoders"
