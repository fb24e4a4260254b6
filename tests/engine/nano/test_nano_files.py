# SPDX-License-Identifier: GPL-3.0-or-later
"""The bundled model's files: layout, size, and that the libraries open them like any Wan."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from safetensors import safe_open
from transformers import AutoTokenizer, UMT5EncoderModel

from wan_blender.engine.nano import DEFAULT, VARIANTS

ROOT = VARIANTS[DEFAULT].parent
SHIPPED = [name for name, folder in VARIANTS.items() if (folder / "model_index.json").exists()]


def place(variant: str, part: str):
    """The folder of one part, as wan_blender.json gives it."""
    folder = VARIANTS[variant]
    settings = json.loads((folder / "wan_blender.json").read_text(encoding="utf-8"))
    return (folder / settings["components"].get(part, part)).resolve()


def test_default_variant_is_shipped():
    assert DEFAULT in SHIPPED


def test_all_files_together_stay_below_25_mib():
    assert sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file()) <= 25 * 2**20


@pytest.mark.parametrize("variant", SHIPPED)
def test_every_part_of_the_index_is_where_the_settings_say(variant):
    index = json.loads((VARIANTS[variant] / "model_index.json").read_text(encoding="utf-8"))
    for part, entry in index.items():
        if isinstance(entry, list) and entry[0]:
            assert place(variant, part).is_dir(), part


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.safetensors")), ids=lambda p: p.parent.name)
def test_weights_are_half_precision_and_finite(path):
    with safe_open(path, "pt") as weights:
        for key in weights.keys():  # noqa: SIM118 - not a dict
            tensor = weights.get_tensor(key)
            assert tensor.dtype in (torch.float16, torch.bfloat16), key
            assert torch.isfinite(tensor).all(), key


@pytest.mark.parametrize("variant", SHIPPED)
def test_parts_open_with_from_pretrained_and_fit_each_other(variant):
    index = json.loads((VARIANTS[variant] / "model_index.json").read_text(encoding="utf-8"))
    kinds = {kind.__name__: kind for kind in (WanTransformer3DModel, WanVACETransformer3DModel)}
    vae = AutoencoderKLWan.from_pretrained(place(variant, "vae"))
    encoder = UMT5EncoderModel.from_pretrained(place(variant, "text_encoder"))
    for part in ("transformer", "transformer_2"):
        if index[part][0]:
            model = kinds[index[part][1]].from_pretrained(place(variant, part))
            assert model.config.text_dim == encoder.config.d_model
            assert model.config.out_channels == vae.config.z_dim == 16
    assert len(vae.config.latents_mean) == len(vae.config.latents_std) == 16
    assert vae.config.scale_factor_spatial == 8


@pytest.mark.parametrize("variant", SHIPPED)
def test_prompt_length_holds_the_longest_captions(variant):
    settings = json.loads((VARIANTS[variant] / "wan_blender.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(place(variant, "tokenizer"))
    longest = (
        "a large shiny purple triangle stays still and a small shiny orange triangle stays still "
        "in front of a dark green speckled background, the camera pans right"
    )
    assert len(tokenizer(longest).input_ids) <= settings["max_sequence_length"]
