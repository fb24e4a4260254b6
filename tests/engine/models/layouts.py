# SPDX-License-Identifier: GPL-3.0-or-later
"""Write one tiny model in every layout people have: the inverse of what the loader reads.

Names of the official release follow its module tree; they are spelled out here a second time on
purpose, so that the loader's table is not tested against itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from diffusers import WanVACETransformer3DModel
from safetensors.torch import load_file, save_file

from wan_blender.engine.models.parts import Component

GOLDEN = Path(__file__).parents[2] / "golden"

_TOP = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.image_embedder.norm1": "img_emb.proj.0",
    "condition_embedder.image_embedder.ff.net.0.proj": "img_emb.proj.1",
    "condition_embedder.image_embedder.ff.net.2": "img_emb.proj.3",
    "condition_embedder.image_embedder.norm2": "img_emb.proj.4",
    "patch_embedding": "patch_embedding",
    "vace_patch_embedding": "vace_patch_embedding",
    "proj_out": "head.head",
}
_ATTENTION = {
    "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "o", "norm_q": "norm_q",
    "norm_k": "norm_k", "add_k_proj": "k_img", "add_v_proj": "v_img",
    "norm_added_k": "norm_k_img",
}  # fmt: skip
_REST = {
    "norm2": "norm3", "ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2",
    "proj_in": "before_proj", "proj_out": "after_proj",
}  # fmt: skip


def official_transformer_name(name: str) -> str:
    if name == "scale_shift_table":
        return "head.modulation"
    if name == "condition_embedder.image_embedder.pos_embed":
        return "img_emb.emb_pos"
    path, _, leaf = name.rpartition(".")
    if path in _TOP:
        return f"{_TOP[path]}.{leaf}"
    block, number, rest = re.match(r"((?:vace_)?blocks)\.(\d+)\.(.*)", name).groups()
    if rest == "scale_shift_table":
        return f"{block}.{number}.modulation"
    inner, _, leaf = rest.rpartition(".")
    kind, _, layer = inner.partition(".")
    if kind in ("attn1", "attn2"):
        side = "self_attn" if kind == "attn1" else "cross_attn"
        return f"{block}.{number}.{side}.{_ATTENTION[layer]}.{leaf}"
    return f"{block}.{number}.{_REST[inner]}.{leaf}"


_RESIDUAL = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3",
             "conv2": "residual.6", "conv_shortcut": "shortcut"}  # fmt: skip


def official_vae_name(name: str, nested: bool, group: int) -> str:
    """``group`` is how many layers one decoder block has in the flat list of Wan 2.1."""
    for old, new in (("quant_conv.", "conv1."), ("post_quant_conv.", "conv2.")):
        if name.startswith(old):
            return new + name.removeprefix(old)
    name = name.replace("conv_in.", "conv1.").replace("norm_out.", "head.0.")
    name = name.replace("conv_out.", "head.2.").replace("mid_block.attentions.0", "middle.1")
    name = name.replace("mid_block.resnets.0", "middle.0").replace(
        "mid_block.resnets.1", "middle.2"
    )
    parts = name.split(".")
    if ("resnets" in parts or "middle" in parts) and parts[-2] in _RESIDUAL:
        parts[-2] = _RESIDUAL[parts[-2]]
        name = ".".join(parts)
    if m := re.match(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.(.*)", name):
        return f"encoder.downsamples.{m[1]}.downsamples.{m[2]}.{m[3]}"
    if m := re.match(r"encoder\.down_blocks\.(\d+)\.downsampler\.(.*)", name):
        return f"encoder.downsamples.{m[1]}.downsamples.{group - 2}.{m[2]}"
    if m := re.match(r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)\.(.*)", name):
        if nested:
            return f"decoder.upsamples.{m[1]}.upsamples.{m[2]}.{m[3]}"
        return f"decoder.upsamples.{int(m[1]) * group + int(m[2])}.{m[3]}"
    if m := re.match(r"decoder\.up_blocks\.(\d+)\.upsampler\.(.*)", name):
        return f"decoder.upsamples.{m[1]}.upsamples.{group - 1}.{m[2]}"
    if m := re.match(r"decoder\.up_blocks\.(\d+)\.upsamplers\.0\.(.*)", name):
        return f"decoder.upsamples.{int(m[1]) * group + group - 1}.{m[2]}"
    return name.replace("down_blocks", "downsamples")


_T5 = {
    "layer.0.SelfAttention.relative_attention_bias": ("pos_embedding.embedding", "attn_rel_b"),
    "layer.0.layer_norm": ("norm1", "attn_norm"), "layer.1.layer_norm": ("norm2", "ffn_norm"),
    "layer.1.DenseReluDense.wi_0": ("ffn.gate.0", "ffn_gate"),
    "layer.1.DenseReluDense.wi_1": ("ffn.fc1", "ffn_up"),
    "layer.1.DenseReluDense.wo": ("ffn.fc2", "ffn_down"),
} | {f"layer.0.SelfAttention.{x}": (f"attn.{x}", f"attn_{x}") for x in "qkvo"}  # fmt: skip


def text_name(name: str, llama: bool) -> str:
    if name == "shared.weight":
        return "token_embd.weight" if llama else "token_embedding.weight"
    if name == "encoder.final_layer_norm.weight":
        return "enc.output_norm.weight" if llama else "norm.weight"
    number, inner = re.match(r"encoder\.block\.(\d+)\.(.*)\.weight", name).groups()
    official, llamas = _T5[inner]
    return f"enc.blk.{number}.{llamas}.weight" if llama else f"blocks.{number}.{official}.weight"


_CLIP = {
    "embeddings.patch_embedding.weight": "patch_embedding.weight",
    "embeddings.class_embedding": "cls_embedding",
    "embeddings.position_embedding.weight": "pos_embedding",
    "pre_layrnorm": "pre_norm", "post_layernorm": "post_norm",
    "layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.out_proj": "attn.proj",
    "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.2",
}  # fmt: skip
# Of open_clip itself, where it differs from what Wan was released with.
_RESBLOCKS = {
    "patch_embedding.": "conv1.", "cls_embedding": "class_embedding",
    "pos_embedding": "positional_embedding", "pre_norm.": "ln_pre.", "post_norm.": "ln_post.",
    ".norm1.": ".ln_1.", ".norm2.": ".ln_2.", ".attn.proj.": ".attn.out_proj.",
    ".attn.to_qkv.": ".attn.in_proj_", ".mlp.0.": ".mlp.c_fc.", ".mlp.2.": ".mlp.c_proj.",
    "transformer.": "transformer.resblocks.",
}  # fmt: skip


def open_clip(state: Mapping[str, torch.Tensor], resblocks: bool = False) -> dict:
    """A CLIPVisionModel's tensors as modelscope's variant of open_clip holds them, or open_clip
    itself (``resblocks``)."""
    out = {}
    for name, tensor in state.items():
        if m := re.match(r"(encoder\.layers\.\d+\.)self_attn\.q_proj\.(.*)", name):
            every = [state[f"{m[1]}self_attn.{x}_proj.{m[2]}"] for x in "qkv"]
            out[f"{m[1]}attn.to_qkv.{m[2]}"] = torch.cat(every)
        elif not re.search(r"[kv]_proj\.|position_ids", name):
            out[name] = tensor
    for old, new in {**_CLIP, "encoder.layers.": "transformer."}.items():
        out = {name.replace(old, new): tensor for name, tensor in out.items()}
    if resblocks:
        for old, new in _RESBLOCKS.items():
            out = {name.replace(old, new): tensor for name, tensor in out.items()}
    else:
        out["cls_embedding"] = out["cls_embedding"][None, None]
        out["pos_embedding"] = out["pos_embedding"][None]
    width = len(state["embeddings.class_embedding"])
    out["proj" if resblocks else "head"] = torch.zeros(width, 4)
    return {name: tensor.contiguous() for name, tensor in out.items()}


def component(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a diffusers component folder."""
    state = load_file(next(folder.glob("*.safetensors")))
    return {n: t for n, t in state.items() if n != "encoder.embed_tokens.weight"}


def renamed(state: Mapping[str, torch.Tensor], rename, prefix: str = "") -> dict:
    return {prefix + rename(name): tensor.contiguous() for name, tensor in state.items()}


def fp8_scaled(state: Mapping[str, torch.Tensor], ending: str = ".scale_weight") -> dict:
    """Block matrices as float8 with a scale each, the way ComfyUI's converters write them."""
    out = {}
    for name, tensor in state.items():
        if tensor.ndim == 2 and ".weight" in name and "blocks." in name:
            scale = tensor.abs().max() / 448
            out[name] = (tensor / scale).to(torch.float8_e4m3fn)
            out[name.removesuffix(".weight") + ending] = scale.reshape(1).float()
        else:
            out[name] = tensor
    if ending == ".scale_weight":
        out["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    return out


def unpacked_fp8(state: Mapping[str, torch.Tensor]) -> dict:
    """What an fp8 file stands for, in float32."""
    out = {}
    for name, tensor in state.items():
        if name.endswith((".scale_weight", ".weight_scale")) or name == "scaled_fp8":
            continue
        layer = name.removesuffix(".weight")
        scale = state.get(layer + ".scale_weight", state.get(layer + ".weight_scale"))
        out[name] = tensor.float() * scale if scale is not None else tensor
    return out


_SCALE_AT = {  # byte offsets of the float16 scales inside a block, to keep random blocks sane
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,),
    "IQ4_NL": (0,), "IQ4_XS": (0,), "IQ2_XXS": (0,), "IQ3_S": (0,),
}  # fmt: skip


def random_blocks(shape: tuple[int, int], quant: str, rng: np.random.Generator) -> np.ndarray:
    """A matrix of ``shape`` as random bytes of a GGUF type with small scales."""
    kind = gguf.GGMLQuantizationType[quant]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (shape[0] * shape[1] // block, size), dtype=np.uint8)
    for at in _SCALE_AT[quant]:
        scale = rng.uniform(1e-4, 4e-4, len(data)).astype(np.float16)
        data[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return data.reshape(shape[0], -1)


def write_gguf(path: Path, state: Mapping[str, torch.Tensor], quant: str, seed: int = 0) -> dict:
    """Write ``state`` with random ``quant`` blocks for the block matrices that fit; returns what
    the file stands for, unpacked by the gguf package's own numpy code."""
    rng = np.random.default_rng(seed)
    kind = gguf.GGMLQuantizationType[quant]
    writer = gguf.GGUFWriter(path, "wan")
    means = {}
    for name, tensor in state.items():
        fits = tensor.ndim == 2 and tensor.shape[1] % gguf.GGML_QUANT_SIZES[kind][0] == 0
        if fits and re.search(r"blocks\.|enc\.blk\.", name) and name.endswith("weight"):
            data = random_blocks(tuple(tensor.shape), quant, rng)
            writer.add_tensor(name, data, raw_dtype=kind)
            means[name] = torch.from_numpy(gguf.dequantize(data, kind))
        else:
            writer.add_tensor(name, tensor.float().numpy())
            means[name] = tensor.float()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return means


def describe(folder: Path, components: Mapping, **settings) -> Path:
    """A model folder that consists of wan_blender.json alone."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"components": components, "max_sequence_length": 64, **settings}
    (folder / "wan_blender.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


def save(path: Path, state: Mapping[str, torch.Tensor], metadata: dict | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(state), path, metadata)
    return path


def save_vae(folders, path):
    vae = component(folders["t2v"] / "vae")
    names = {n: official_vae_name(n, False, 3) for n in vae}
    save(path, renamed(vae, names.__getitem__))


def save_text_encoder(folders, path):
    """With its tokenizer, as ComfyUI's files have it."""
    text = component(folders["t2v"] / "text_encoder")
    text["spiece_model"] = torch.zeros(8, dtype=torch.uint8)
    save(path, text)


def open_part(name: str, place, dtype=torch.float32, **options) -> Component:
    return Component(
        name, place, torch.device("cpu"), dtype, lambda part, done, total: None, **options
    )


@torch.no_grad()
def velocity(model: torch.nn.Module, seed: int = 3) -> torch.Tensor:
    """What ``model`` says to fixed random inputs."""
    random = torch.Generator().manual_seed(seed)
    config = model.config
    dtype = model.proj_out.bias.dtype
    inputs = {
        "hidden_states": torch.randn(1, config.in_channels, 3, 8, 8, generator=random).to(dtype),
        "timestep": torch.tensor([713.0]),
        "encoder_hidden_states": torch.randn(1, 512, config.text_dim, generator=random).to(dtype),
    }
    if isinstance(model, WanVACETransformer3DModel):
        inputs["control_hidden_states"] = torch.randn(1, 96, 3, 8, 8, generator=random).to(dtype)
    if config.image_dim:
        inputs["encoder_hidden_states_image"] = torch.randn(
            1, 257, config.image_dim, generator=random
        ).to(dtype)
    return model(**inputs).sample.float()
