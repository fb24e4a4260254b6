# SPDX-License-Identifier: GPL-3.0-or-later
"""A tiny Wan with random weights: exercises every part of the engine, makes no picture."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

_LENGTH = 64  # tokens; bytes of the prompt
_TRANSFORMER = {
    "num_attention_heads": 2, "attention_head_dim": 32, "text_dim": 32, "freq_dim": 64,
    "ffn_dim": 128, "num_layers": 2,
}  # fmt: skip


def write_untrained(folder: Path, kind: str, seed: int = 0, boundary: float | None = None) -> Path:
    """Write a model of ``kind`` (t2v, i2v, vace, ti2v) in diffusers layout; ``boundary`` adds a
    second expert. The same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        five_b = kind == "ti2v"
        _vae(five_b).save_pretrained(folder / "vae")
        _text_encoder().save_pretrained(folder / "text_encoder")
        for name in ("transformer", "transformer_2") if boundary else ("transformer",):
            _transformer(kind).save_pretrained(folder / name)
    _tokenizer().save_pretrained(folder / "tokenizer")
    classes = {"i2v": "WanImageToVideoPipeline", "vace": "WanVACEPipeline"}
    index = {
        "_class_name": classes.get(kind, "WanPipeline"),
        "boundary_ratio": boundary,
        "expand_timesteps": five_b,
    }
    _write(folder / "wan_blender.json", {"max_sequence_length": _LENGTH})
    _write(folder / "model_index.json", index)
    return folder


def _write(path: Path, data: dict) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _vae(five_b: bool) -> AutoencoderKLWan:
    channels = 48 if five_b else 16
    extra = {"in_channels": 12, "out_channels": 12, "patch_size": 2, "is_residual": True,
             "scale_factor_spatial": 16} if five_b else {}  # fmt: skip
    return AutoencoderKLWan(
        base_dim=8, z_dim=channels, num_res_blocks=1,
        latents_mean=[0.0] * channels, latents_std=[1.0] * channels, **extra,
    )  # fmt: skip


def _transformer(kind: str) -> torch.nn.Module:
    if kind == "vace":
        return WanVACETransformer3DModel(**_TRANSFORMER, vace_layers=[0, 1])
    channels = {"t2v": 16, "i2v": 36, "ti2v": 48}[kind]
    out = 48 if kind == "ti2v" else 16
    return WanTransformer3DModel(**_TRANSFORMER, in_channels=channels, out_channels=out)


def _text_encoder() -> UMT5EncoderModel:
    return UMT5EncoderModel(UMT5Config(
        vocab_size=258, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2,
        feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=1,
    ))  # fmt: skip


def _tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and T5's end token behind the prompt."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 0, "</s>": 1} | {c: i + 2 for i, c in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", padding_side="right"
    )
