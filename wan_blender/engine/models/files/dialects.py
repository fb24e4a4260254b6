# SPDX-License-Identifier: GPL-3.0-or-later
"""Tensor names: from the dialects that files speak to the names diffusers and transformers use.

The role of a file is read from its names, never from its own name. All functions work on names
and shapes alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from .lora_dialects import is_lora
from .tensor_files import TensorInfo

# Where a component's names may begin in a file, most specific first. The first two are
# checkpoints that hold every component at once.
_PREFIXES = {
    "transformer": ("model.diffusion_model.", "diffusion_model.", "module.", ""),
    "vae": ("first_stage_model.", "vae.", "model.", ""),
    "text_encoder": (
        "text_encoders.umt5xxl.transformer.", "cond_stage_model.umt5xxl.transformer.",
        "text_encoder.", "transformer.", "",
    ),
    # transformers 5 names CLIP's vision model without the prefix that all files carry; "visual."
    # is open_clip's
    "image_encoder": (
        "clip_vision.vision_model.", "vision_model.", "image_encoder.", "visual.", "",
    ),
}  # fmt: skip

# A name that only this component has: official, diffusers, llama.cpp.
_MARKS = {
    "transformer": ("blocks.0.self_attn.q.weight", "blocks.0.attn1.to_q.weight"),
    "vae": ("decoder.conv1.weight", "decoder.conv_in.weight"),
    "text_encoder": (
        "token_embedding.weight", "shared.weight", "encoder.embed_tokens.weight",
        "token_embd.weight",
    ),
    "image_encoder": ("pre_layrnorm.weight", "cls_embedding", "class_embedding"),
}  # fmt: skip

_VACE = re.compile(r"(^|\.)vace_(blocks|patch_embedding)\.")


def roles(names: Iterable[str]) -> dict[str, str]:
    """Component -> prefix of its names, for every component in a file.

    Besides the components: "lora", and "vace" for a file that holds only what VACE adds to a
    T2V transformer.
    """
    names = set(names)
    if any(map(is_lora, names)):
        return {"lora": ""}
    found = {}
    for role, prefixes in _PREFIXES.items():
        for prefix in prefixes:
            if any(prefix + mark in names for mark in _MARKS[role]):
                found[role] = prefix
                break
    if "transformer" not in found:
        for prefix in _PREFIXES["transformer"]:
            if prefix + "vace_blocks.0.self_attn.q.weight" in names:
                return {"vace": prefix}
    return found


def translate(role: str, names: Iterable[str], prefix: str = "") -> dict[str, str]:
    """Diffusers (or transformers) name -> name in the file, of everything under ``prefix``. Several
    names may stand for one tensor of the file, see ``piece``."""
    inside = {name[len(prefix) :]: name for name in names if name.startswith(prefix)}
    if role in ("transformer", "vace"):
        return {transformer_name(short): name for short, name in inside.items()}
    if role == "vae":
        rename = _vae_renamer(inside)
        return {rename(short): name for short, name in inside.items()}
    if role == "text_encoder":
        return {_text_name(short): name for short, name in inside.items()}
    return {new: name for short, name in inside.items() for new in _clip_names(short)}


_TRANSFORMER = (
    (r"^time_embedding\.0\.", "condition_embedder.time_embedder.linear_1."),
    (r"^time_embedding\.2\.", "condition_embedder.time_embedder.linear_2."),
    (r"^time_projection\.1\.", "condition_embedder.time_proj."),
    (r"^text_embedding\.0\.", "condition_embedder.text_embedder.linear_1."),
    (r"^text_embedding\.2\.", "condition_embedder.text_embedder.linear_2."),
    (r"^img_emb\.proj\.0\.", "condition_embedder.image_embedder.norm1."),
    (r"^img_emb\.proj\.1\.", "condition_embedder.image_embedder.ff.net.0.proj."),
    (r"^img_emb\.proj\.3\.", "condition_embedder.image_embedder.ff.net.2."),
    (r"^img_emb\.proj\.4\.", "condition_embedder.image_embedder.norm2."),
    (r"^img_emb\.emb_pos$", "condition_embedder.image_embedder.pos_embed"),
    (r"^head\.modulation$", "scale_shift_table"),
    (r"^head\.head\.", "proj_out."),
    (r"^((?:vace_)?blocks\.\d+\.)modulation$", r"\1scale_shift_table"),
    (r"^(vace_blocks\.\d+\.)before_proj\.", r"\1proj_in."),
    (r"^(vace_blocks\.\d+\.)after_proj\.", r"\1proj_out."),
    (r"\.ffn\.0\.", ".ffn.net.0.proj."),
    (r"\.ffn\.2\.", ".ffn.net.2."),
    # The official norm3 (before cross-attention) is diffusers' norm2; norm1 and norm2 have no
    # weights in either.
    (r"\.norm3\.", ".norm2."),
    (r"_attn\.q\.", "_attn.to_q."),
    (r"_attn\.k\.", "_attn.to_k."),
    (r"_attn\.v\.", "_attn.to_v."),
    (r"_attn\.o\.", "_attn.to_out.0."),
    (r"_attn\.k_img\.", "_attn.add_k_proj."),
    (r"_attn\.v_img\.", "_attn.add_v_proj."),
    (r"_attn\.norm_k_img\.", "_attn.norm_added_k."),
    (r"\.self_attn\.", ".attn1."),
    (r"\.cross_attn\.", ".attn2."),
)
_TRANSFORMER = tuple((re.compile(pattern), new) for pattern, new in _TRANSFORMER)


def transformer_name(name: str) -> str:
    """Diffusers' name of a transformer tensor; a name that already is one stays."""
    for pattern, new in _TRANSFORMER:
        name = pattern.sub(new, name)
    return name


# Every module that a Wan transformer has, with VACE's; what ends the name is the tensor in it.
_WAN = re.compile(
    r"((vace_)?patch_embedding|proj_out|condition_embedder\.("
    r"(time|text)_embedder\.linear_[12]|time_proj|image_embedder\.(norm[12]|ff\.net\.(0\.proj|2)))"
    r"|(vace_)?blocks\.\d+\.(attn[12]\.(to_[qkv]|to_out\.0|norm_[qk]|add_[kv]_proj|norm_added_[qk])"
    r"|norm[123]|ffn\.net\.(0\.proj|2)|proj_in|proj_out))\.\w+"
    r"|(vace_)?blocks\.\d+\.scale_shift_table|condition_embedder\.image_embedder\.pos_embed"
)


def foreign(names: Iterable[str]) -> list[str]:
    """Modules among a transformer's tensors (diffusers names) that no Wan transformer has: those of
    a model that was made of one. Names without a dot are bookkeeping of the file."""
    found = {}
    for name in names:
        if "." in name and not _WAN.fullmatch(name):
            top, *inner = (word for word in name.split(".") if not word.isdigit())
            found[f"{top}.{inner[0]}" if top.endswith("blocks") else top] = None
    return list(found)


_VAE = (
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"coder\.conv1\.", "coder.conv_in."),
    (r"coder\.head\.0\.", "coder.norm_out."),
    (r"coder\.head\.2\.", "coder.conv_out."),
    (r"\.middle\.0\.", ".mid_block.resnets.0."),
    (r"\.middle\.1\.", ".mid_block.attentions.0."),
    (r"\.middle\.2\.", ".mid_block.resnets.1."),
    (r"\.residual\.0\.", ".norm1."),
    (r"\.residual\.2\.", ".conv1."),
    (r"\.residual\.3\.", ".norm2."),
    (r"\.residual\.6\.", ".conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
)
_VAE = tuple((re.compile(pattern), new) for pattern, new in _VAE)


def _vae_renamer(names: Mapping[str, str]):
    """Wan 2.1 lists encoder and decoder layers flat, Wan 2.2 in blocks; diffusers groups both.
    How many layers make a block is read from where the resampling layers are."""
    if "decoder.conv_in.weight" in names:
        return lambda name: name
    nested = any(re.match(r"decoder\.upsamples\.\d+\.upsamples\.", n) for n in names)
    resamples = sorted(
        int(m[1]) for n in names if (m := re.match(r"decoder\.upsamples\.(\d+)\.resample\.", n))
    )
    group = resamples[0] + 1 if resamples and not nested else 0
    inner = {}  # nested: how many residual layers each block has, per side
    for side, word in (("encoder", "downsamples"), ("decoder", "upsamples")):
        found = re.compile(rf"{side}\.{word}\.\d+\.{word}\.(\d+)\.residual\.")
        inner[word] = 1 + max((int(m[1]) for n in names if (m := found.match(n))), default=0)

    def rename(name: str) -> str:
        for pattern, new in _VAE:
            name = pattern.sub(new, name)
        if m := re.match(r"encoder\.downsamples\.(\d+)\.downsamples\.(\d+)\.(.*)", name):
            layer = f"resnets.{m[2]}" if int(m[2]) < inner["downsamples"] else "downsampler"
            return f"encoder.down_blocks.{m[1]}.{layer}.{m[3]}"
        if m := re.match(r"decoder\.upsamples\.(\d+)\.upsamples\.(\d+)\.(.*)", name):
            layer = f"resnets.{m[2]}" if int(m[2]) < inner["upsamples"] else "upsampler"
            return f"decoder.up_blocks.{m[1]}.{layer}.{m[3]}"
        if group and (m := re.match(r"decoder\.upsamples\.(\d+)\.(.*)", name)):
            block, layer = divmod(int(m[1]), group)
            place = f"resnets.{layer}" if layer < group - 1 else "upsamplers.0"
            return f"decoder.up_blocks.{block}.{place}.{m[2]}"
        return name.replace("encoder.downsamples.", "encoder.down_blocks.")

    return rename


_TEXT = (
    (r"^token_embedding\.", "shared."),
    (r"^norm\.", "encoder.final_layer_norm."),
    (r"^blocks\.(\d+)\.attn\.", r"encoder.block.\1.layer.0.SelfAttention."),
    (
        r"^blocks\.(\d+)\.pos_embedding\.embedding\.",
        r"encoder.block.\1.layer.0.SelfAttention.relative_attention_bias.",
    ),
    (r"^blocks\.(\d+)\.norm1\.", r"encoder.block.\1.layer.0.layer_norm."),
    (r"^blocks\.(\d+)\.norm2\.", r"encoder.block.\1.layer.1.layer_norm."),
    (r"^blocks\.(\d+)\.ffn\.gate\.0\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_0."),
    (r"^blocks\.(\d+)\.ffn\.fc1\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_1."),
    (r"^blocks\.(\d+)\.ffn\.fc2\.", r"encoder.block.\1.layer.1.DenseReluDense.wo."),
    (r"^token_embd\.", "shared."),
    (r"^enc\.output_norm\.", "encoder.final_layer_norm."),
    (
        r"^enc\.blk\.(\d+)\.attn_rel_b\.",
        r"encoder.block.\1.layer.0.SelfAttention.relative_attention_bias.",
    ),
    (r"^enc\.blk\.(\d+)\.attn_norm\.", r"encoder.block.\1.layer.0.layer_norm."),
    (r"^enc\.blk\.(\d+)\.attn_([qkvo])\.", r"encoder.block.\1.layer.0.SelfAttention.\2."),
    (r"^enc\.blk\.(\d+)\.ffn_norm\.", r"encoder.block.\1.layer.1.layer_norm."),
    (r"^enc\.blk\.(\d+)\.ffn_gate\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_0."),
    (r"^enc\.blk\.(\d+)\.ffn_up\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_1."),
    (r"^enc\.blk\.(\d+)\.ffn_down\.", r"encoder.block.\1.layer.1.DenseReluDense.wo."),
)
_TEXT = tuple((re.compile(pattern), new) for pattern, new in _TEXT)


def _text_name(name: str) -> str:
    for pattern, new in _TEXT:
        changed = pattern.sub(new, name)
        if changed != name:
            return changed
    return name


# CLIP as Wan released it (modelscope's variant of open_clip) and as open_clip itself names it.
_CLIP = (
    (r"^(patch_embedding|conv1)\.", "embeddings.patch_embedding."),
    (r"^(cls_embedding|class_embedding)$", "embeddings.class_embedding"),
    (r"^(pos_embedding|positional_embedding)$", "embeddings.position_embedding.weight"),
    (r"^(pre_norm|ln_pre)\.", "pre_layrnorm."),
    (r"^(post_norm|ln_post)\.", "post_layernorm."),
    (r"^transformer\.(?:resblocks\.)?(\d+)\.", r"encoder.layers.\1."),
    (r"\.(?:norm|ln_)([12])\.", r".layer_norm\1."),
    (r"\.attn\.(out_)?proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.(0|c_fc)\.", ".mlp.fc1."),
    (r"\.mlp\.(2|c_proj)\.", ".mlp.fc2."),
)
_CLIP = tuple((re.compile(pattern), new) for pattern, new in _CLIP)
_CLIP_QKV = re.compile(r"\.attn\.(?:to_qkv\.|in_proj_)(weight|bias)$")
# What compares pictures with words, which Wan has no use for.
_CLIP_HEAD = {"head", "proj", "log_scale", "logit_scale"}


def _clip_names(name: str) -> list[str]:
    """Names in CLIPVisionModel, which has queries, keys and values apart."""
    if name in _CLIP_HEAD:
        return []
    for pattern, new in _CLIP:
        name = pattern.sub(new, name)
    if _CLIP_QKV.search(name):
        return [_CLIP_QKV.sub(rf".self_attn.{letter}_proj.\1", name) for letter in "qkv"]
    return [name]


def piece(name: str, raw: str, info: TensorInfo) -> TensorInfo:
    """What ``name`` is of the tensor ``raw`` of a file: nearly always the whole of it."""
    rows, *rest = info.shape or (0,)
    if _CLIP_QKV.search(raw) and rows % 3 == 0:  # (3 d, ...): queries, keys, values
        letter = re.search(r"([qkv])_proj\.", name)[1]
        return replace(info, shape=(rows // 3, *rest), piece="qkv".index(letter))
    if name.startswith("embeddings.") and rows == 1:  # (1, 1, d) and (1, n, d)
        return replace(info, shape=tuple(rest[1:] if rest[:1] == [1] else rest))
    return info
