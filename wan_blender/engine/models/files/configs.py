# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a component, read from the shapes of its tensors.

Single files carry no configuration. Everything diffusers needs to know can be read from shapes,
but for the number of attention heads: every released Wan has heads of 128 channels, and an
official ``config.json`` beside the file may say otherwise. It may also be that of another model:
one whose sizes are not those of the tensors is passed over, and what cannot be of this one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ....core.errors import WeightsMissing, WrongModel
from .config_checks import LAYERS_LIMIT
from .tensor_files import TensorInfo

Infos = Mapping[str, TensorInfo]

# Statistics of the Wan 2.2 VAE's 48 latent channels, as released with it (Wan2_2_VAE).
_MEAN_48 = [
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813,
    0.0891, 0.157, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108,
    -0.2158, 0.2502, -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.123, -0.0313,
    -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.052, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944,
    0.3573, -0.0548, -0.1681, -0.0667,
]  # fmt: skip
_STD_48 = [
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.499, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.06, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
]  # fmt: skip


def infer_config(role: str, infos: Infos, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Configuration of ``role`` from its tensors under diffusers names; ``known`` is an official
    config. Raises WrongModel when a tensor it must have is not there, WeightsMissing when one has a
    shape that it cannot have."""
    try:
        return _READERS[role](infos, known or {})
    except KeyError as error:
        if role not in _READERS:
            raise WrongModel(
                f"The {role} cannot be read from a single file.",
                "Give its folder, with its config.json.",
            ) from error
        raise WrongModel(f"This is not a Wan {role}: it has no tensor {error}.") from error
    except (IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        file = next(iter(infos.values())).file
        raise WeightsMissing(
            f"{file} has tensors of shapes that no Wan {role} has: {error}.",
            "Download the file again.",
        ) from error


def _count(names: Iterable[str], pattern: str) -> int:
    """How many layers the names number. Raises ValueError for more than any Wan has: what is made
    of them would fill the memory."""
    found = re.compile(pattern)
    count = 1 + max((int(m[1]) for name in names if (m := found.match(name))), default=-1)
    if count > LAYERS_LIMIT:
        raise ValueError(f"it numbers {count} layers, at most {LAYERS_LIMIT} can be")
    return count


def _transformer(infos: Infos, known: Mapping[str, Any]) -> dict[str, Any]:
    dim, in_channels, *patch = infos["patch_embedding.weight"].shape
    sizes = {
        "dim": dim,
        "ffn_dim": infos["blocks.0.ffn.net.0.proj.weight"].shape[0],
        "num_layers": _count(infos, r"blocks\.(\d+)\."),
    }
    if any(known.get(name, size) != size for name, size in sizes.items()):
        known = {}  # another Wan's, whose heads may divide these channels too
    heads = known.get("num_heads") or known.get("num_attention_heads")
    if not (type(heads) is int and heads > 0 and dim % (2 * heads) == 0):
        heads = max(dim // 128, 1)
    eps = known.get("eps")
    text = infos["condition_embedder.text_embedder.linear_1.weight"].shape
    clip = infos.get("condition_embedder.image_embedder.norm1.weight")
    ends = infos.get("condition_embedder.image_embedder.pos_embed")
    config = {
        "_class_name": "WanTransformer3DModel",
        "patch_size": patch,
        "num_attention_heads": heads,
        "attention_head_dim": dim // heads,
        "in_channels": in_channels,
        "out_channels": infos["proj_out.weight"].shape[0] // math.prod(patch),
        "text_dim": text[1],
        "freq_dim": infos["condition_embedder.time_embedder.linear_1.weight"].shape[1],
        "ffn_dim": sizes["ffn_dim"],
        "num_layers": sizes["num_layers"],
        "cross_attn_norm": "blocks.0.norm2.weight" in infos,
        "qk_norm": "rms_norm_across_heads",
        "eps": eps if isinstance(eps, float) and 0 < eps < 1 else 1e-6,
        "image_dim": clip.shape[0] if clip else None,
        "added_kv_proj_dim": dim if "blocks.0.attn2.add_k_proj.weight" in infos else None,
        "pos_embed_seq_len": ends.shape[1] if ends else None,
    }
    if "vace_patch_embedding.weight" in infos:
        layers = _count(infos, r"vace_blocks\.(\d+)\.")
        stride = config["num_layers"] // layers
        places = known.get("vace_layers")
        if not (len(_numbers(places)) == layers and set(places) <= {*range(config["num_layers"])}):
            places = [i * stride for i in range(layers)]
        config |= {
            "_class_name": "WanVACETransformer3DModel",
            "vace_layers": places,
            "vace_in_channels": infos["vace_patch_embedding.weight"].shape[1],
        }
    return config


def _vae(infos: Infos, known: Mapping[str, Any]) -> dict[str, Any]:
    base, in_channels = infos["encoder.conv_in.weight"].shape[:2]
    out_channels = infos["decoder.conv_out.weight"].shape[0]
    if out_channels != in_channels:
        file = next(iter(infos.values())).file
        raise WrongModel(
            f"{file} is a VAE that takes {in_channels} channels and makes {out_channels}: what "
            "it decodes has another size than what it encodes.",
            "Use the VAE that Wan was released with.",
        )
    z_dim = infos["post_quant_conv.weight"].shape[0]
    nested = any(".downsampler." in name or ".upsampler." in name for name in infos)
    top = infos["encoder.conv_out.weight"].shape[1]
    decoder_top = infos["decoder.conv_in.weight"].shape[0]
    config = {
        "_class_name": "AutoencoderKLWan",
        "base_dim": base,
        "decoder_base_dim": decoder_top * base // top,
        "z_dim": z_dim,
        "num_res_blocks": _count(infos, r"decoder\.up_blocks\.0\.resnets\.(\d+)\.") - 1,
        "in_channels": in_channels,
        "out_channels": in_channels,
        "is_residual": nested,
        # The Wan 2.2 VAE folds 2x2 pixels into channels before its first layer.
        "patch_size": 2 if in_channels == 12 else None,
        "scale_factor_spatial": 16 if in_channels == 12 else 8,
    }
    if z_dim == 48:
        config |= {"latents_mean": _MEAN_48, "latents_std": _STD_48}
    for name in ("latents_mean", "latents_std"):
        if len(numbers := _numbers(known.get(name))) == z_dim:
            config[name] = numbers
    return config


def _numbers(told: Any) -> list[float]:
    """``told`` where it is a list of numbers, else nothing."""
    right = isinstance(told, list) and all(isinstance(n, (int, float)) for n in told)
    return told if right else []


def _text_encoder(infos: Infos, known: Mapping[str, Any]) -> dict[str, Any]:
    vocabulary, dim = infos["shared.weight"].shape
    attention = "encoder.block.0.layer.0.SelfAttention"
    buckets, heads = infos[f"{attention}.relative_attention_bias.weight"].shape
    return {
        "model_type": "umt5",
        "vocab_size": vocabulary,
        "d_model": dim,
        "d_kv": infos[f"{attention}.q.weight"].shape[0] // heads,
        "d_ff": infos["encoder.block.0.layer.1.DenseReluDense.wi_0.weight"].shape[0],
        "num_layers": _count(infos, r"encoder\.block\.(\d+)\."),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu",
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


def _image_encoder(infos: Infos, known: Mapping[str, Any]) -> dict[str, Any]:
    width, _, patch, _ = infos["embeddings.patch_embedding.weight"].shape
    squares = infos["embeddings.position_embedding.weight"].shape[0] - 1
    return {
        "model_type": "clip_vision_model",
        "hidden_size": width,
        "intermediate_size": infos["encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": _count(infos, r"encoder\.layers\.(\d+)\."),
        # ViT-H, the only one Wan was released with, has heads of 80 channels; a num_heads beside
        # its file is the transformer's
        "num_attention_heads": max(width // 80, 1),
        "image_size": math.isqrt(squares) * patch,
        "patch_size": patch,
        "hidden_act": "gelu",
    }


_READERS = {
    "transformer": _transformer,
    "vae": _vae,
    "text_encoder": _text_encoder,
    "image_encoder": _image_encoder,
}
