# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapters that PEFT trained act as they do in PEFT."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from safetensors.torch import load_file

from tests.engine.models.layouts import save, velocity
from wan_blender.core.errors import WeightsMissing
from wan_blender.engine.models.files.lora import set_loras
from wan_blender.engine.models.files.lora_files import check_lora, read_lora
from wan_blender.engine.models.find.identify import identify

LAYERS = ["attn1.to_q", "attn2.to_out.0", "ffn.net.0.proj", "ffn.net.2"]
ALPHAS = {"^blocks.0.attn1.to_q": 3, "blocks.1.attn1.to_q": 24, "net.2": 1}
RANKS = {"attn1.to_q": 2, r"blocks\.1\.ffn\.net\.0\.proj": 7}
CONFIGS = {
    "plain": LoraConfig(r=4, lora_alpha=8, target_modules=LAYERS),
    "rank-stabilised": LoraConfig(r=16, lora_alpha=8, use_rslora=True, target_modules=LAYERS),
    "alphas": LoraConfig(r=4, lora_alpha=8, alpha_pattern=ALPHAS, target_modules=LAYERS),
    "ranks": LoraConfig(r=4, lora_alpha=8, rank_pattern=RANKS, target_modules=LAYERS),
    "everything": LoraConfig(
        r=4, lora_alpha=6, use_rslora=True, rank_pattern=RANKS, alpha_pattern=ALPHAS,
        lora_bias=True, target_modules=LAYERS,
    ),
    "LoHa": LoHaConfig(r=3, alpha=5, target_modules=LAYERS),
    "LoHa with patterns": LoHaConfig(
        r=3, alpha=5, rank_pattern=RANKS, alpha_pattern=ALPHAS, target_modules=LAYERS
    ),
    "LoKr": LoKrConfig(r=2, alpha=6, target_modules=LAYERS),
    "LoKr of whole factors": LoKrConfig(
        r=64, alpha=32, rank_pattern={"net.2": 128}, target_modules=LAYERS
    ),
    "LoKr of halves": LoKrConfig(
        r=2, alpha=6, decompose_both=True, decompose_factor=8, target_modules=LAYERS
    ),
}  # fmt: skip


def train(model, config, folder: Path) -> torch.Tensor:
    """What the model says with an adapter that PEFT made and saved in ``folder``."""
    trained = get_peft_model(copy.deepcopy(model), copy.deepcopy(config)).eval()
    random = torch.Generator().manual_seed(5)
    for name, parameter in trained.named_parameters():
        if any(word in name for word in ("lora_", "hada_", "lokr_")):
            parameter.data = torch.randn(parameter.shape, generator=random) * 0.2
    trained.save_pretrained(folder)
    return velocity(trained.base_model.model)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_acts_as_in_peft(model, tmp_path, name):
    expected = train(model, CONFIGS[name], tmp_path)
    path, plain = tmp_path / "adapter_model.safetensors", velocity(model)
    check_lora(path, copy.deepcopy(model).to("meta"))
    lora = read_lora(path, model)
    assert lora.skipped == ()
    set_loras(model, [(lora, 1.0)])
    difference = (velocity(model) - expected).abs().max() / (expected - plain).abs().max()
    set_loras(model, [])
    assert difference < 1e-5
    assert torch.equal(velocity(model), plain)
    assert identify(path)[0].width == 64


@pytest.mark.parametrize("name", ["rank-stabilised", "alphas", "LoKr of whole factors"])
@pytest.mark.filterwarnings("ignore")
def test_the_configuration_counts_inside_the_file_too(model, tmp_path, name):
    """As diffusers writes it, the component's name before each entry, beside a text encoder's."""
    expected = train(model, CONFIGS[name], tmp_path)
    told = json.loads((tmp_path / "adapter_config.json").read_text())
    told = {f"transformer.{key}": value for key, value in told.items()}
    told["text_encoder.lora_alpha"] = told["text_encoder.alpha"] = 999
    state = load_file(tmp_path / "adapter_model.safetensors")
    state = {key.replace("base_model.model.", "transformer."): t for key, t in state.items()}
    path = save(tmp_path / "one.safetensors", state, {"lora_adapter_metadata": json.dumps(told)})
    set_loras(model, [(read_lora(path, model), 1.0)])
    actual = velocity(model)
    set_loras(model, [])
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("name", ["LoHa", "LoKr"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.filterwarnings("ignore")
def test_products_follow_weight_and_precision(model, tmp_path, name, dtype):
    train(model, CONFIGS[name], tmp_path)
    lora = read_lora(tmp_path / "adapter_model.safetensors", model)
    merged = copy.deepcopy(model)
    for place, delta in lora.deltas.items():
        (product,) = delta.products
        merged.get_submodule(place).weight += 0.5 * product.matrix()
    expected, other = velocity(merged), copy.deepcopy(model).to(dtype)
    set_loras(other, [(lora, 0.75), (lora, -0.25)])
    error = (velocity(other) - expected).abs().mean() / expected.std()
    assert error < (1e-5 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ({"lora_alpha": "8"}, "lora_alpha is '8'"),
        ({"lora_alpha": float("inf")}, "lora_alpha is inf"),
        ({"lora_alpha": 10**400}, "expected one finite number"),
        ({"r": 0}, "r is 0, expected a rank above 0"),
        ({"alpha_pattern": [1]}, "alpha_pattern is"),
        ({"alpha_pattern": {"to_q": None}}, "to_q is None"),
        ({"alpha_pattern": {"(": 1}}, r"alpha_pattern has '\('"),
        ({"alpha_pattern": {"(a+)+b": 1}}, "repeats too much"),
        ({"rank_pattern": {"x" * 999: 1}}, "too long"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_configuration_that_cannot_be_meant_is_named(model, tmp_path, spoilt, words):
    train(model, CONFIGS["plain"], tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | spoilt))
    with pytest.raises(WeightsMissing, match=words):
        read_lora(tmp_path / "adapter_model.safetensors", model)


@pytest.mark.filterwarnings("ignore")
def test_a_byte_order_mark_is_passed_over(model, tmp_path):
    train(model, CONFIGS["rank-stabilised"], tmp_path)
    adapter = tmp_path / "adapter_model.safetensors"
    scale = read_lora(adapter, model).deltas["blocks.0.attn1.to_q"].scale
    path = tmp_path / "adapter_config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_lora(adapter, model).deltas["blocks.0.attn1.to_q"].scale == scale == 8 / 16**0.5
