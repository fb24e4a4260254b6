# SPDX-License-Identifier: GPL-3.0-or-later
"""One model in every layout gives one output; other people's weights give their outputs."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from diffusers.loaders.single_file_utils import (
    convert_wan_transformer_to_diffusers,
    convert_wan_vae_to_diffusers,
)
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import CLIPVisionConfig, CLIPVisionModel

from tests.engine.models.layouts import (
    GOLDEN,
    component,
    describe,
    fp8_scaled,
    official_transformer_name,
    official_vae_name,
    open_clip,
    open_part,
    renamed,
    save,
    text_name,
    unpacked_fp8,
    velocity,
    write_gguf,
)
from wan_blender.core.errors import WrongModel
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.models.files.stored import StoredLinear


def same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal but for rounding: tensors read through a memory map lie at other addresses, and
    matrix products add in another order there."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6)


def write_official_config(folder, **known):
    """config.json as Wan was released with; loaders need its num_heads only."""
    told = {"_class_name": "WanModel", "_diffusers_version": "0.30.0", "model_type": "t2v",
            "eps": 1e-6, "freq_dim": 64, "in_dim": 16, "out_dim": 16, "text_len": 512}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(told | known))


def golden_transformer(tmp_path, name: str):
    """The official file with the official config.json that says how many heads it has."""
    shutil.copy(GOLDEN / name, tmp_path / name)
    write_official_config(tmp_path, dim=128, num_heads=2)
    return open_part("transformer", tmp_path / name).model


@pytest.mark.parametrize("kind", ["t2v", "i2v", "ti2v"])
def test_official_wan22_weights_give_the_official_output(tmp_path, kind):
    model = golden_transformer(tmp_path, f"wan22_{kind}_tiny_official_keys.safetensors")
    golden = load_file(GOLDEN / "wan22_forward.safetensors")
    x = golden[f"{kind}.x"]
    if kind == "i2v":
        x = torch.cat([x, golden["i2v.y"]])
    context = torch.zeros(1, 64, 64)
    context[0, :20] = golden[f"{kind}.context"]
    with torch.no_grad():
        out = model(
            hidden_states=x[None],
            timestep=golden[f"{kind}.timestep"],
            encoder_hidden_states=context,
        ).sample
    torch.testing.assert_close(out[0], golden[f"{kind}.out"], rtol=0, atol=2e-5)


def test_official_wan21_weights_give_comfyui_velocity(tmp_path):
    model = golden_transformer(tmp_path, "wan_t2v_tiny_official_keys.safetensors")
    with safe_open(GOLDEN / "comfy_masked_sampling.safetensors", "pt") as golden, torch.no_grad():
        out = model(
            hidden_states=golden.get_tensor("source_latents"),
            timestep=golden.get_tensor("forward_timestep"),
            encoder_hidden_states=golden.get_tensor("text_cond"),
        ).sample
        torch.testing.assert_close(out, golden.get_tensor("forward_velocity"), rtol=0, atol=2e-5)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
@pytest.mark.parametrize("kind", ["t2v", "i2v", "vace", "ti2v"])
def test_single_file_equals_the_folder(folders, tmp_path, kind, prefix):
    folder = folders[kind] / "transformer"
    state = renamed(component(folder), official_transformer_name, prefix)
    path = save(tmp_path / "model.safetensors", state)
    write_official_config(tmp_path, dim=64, num_heads=2, model_type=kind)
    part, reference = open_part("transformer", path), open_part("transformer", folder)
    same(velocity(part.model), velocity(reference.model))


def test_names_agree_with_the_converter_of_diffusers(folders):
    state = component(folders["vace"] / "transformer")
    official = {official_transformer_name(name): name for name in state}
    assert convert_wan_transformer_to_diffusers(dict(official)) == {n: n for n in state}


def test_clip_and_both_ends_are_read_from_shapes(tmp_path):
    torch.manual_seed(1)
    model = WanTransformer3DModel(
        num_attention_heads=1, attention_head_dim=128, text_dim=32, freq_dim=64, ffn_dim=64,
        num_layers=1, in_channels=36, image_dim=48, added_kv_proj_dim=128, pos_embed_seq_len=514,
    )  # fmt: skip
    state = renamed(model.state_dict(), official_transformer_name)
    part = open_part("transformer", save(tmp_path / "flf2v.safetensors", state))
    assert part.config["image_dim"] == 48
    assert part.config["pos_embed_seq_len"] == 514
    for name, tensor in part.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


@pytest.mark.parametrize(("kind", "layers"), [("t2v", 1), ("t2v", 2), ("ti2v", 1)])
def test_official_vae_equals_the_folder(tmp_path, folders, kind, layers):
    vae = AutoencoderKLWan.from_pretrained(folders[kind] / "vae")
    if layers == 2:
        vae = AutoencoderKLWan(base_dim=8, num_res_blocks=2)
    nested = kind == "ti2v"
    names = {n: official_vae_name(n, nested, layers + 2) for n in vae.state_dict()}
    path = save(tmp_path / "vae.safetensors", renamed(vae.state_dict(), names.__getitem__))
    if layers == 2:  # the released size: the converter of diffusers must agree
        assert convert_wan_vae_to_diffusers({v: k for k, v in names.items()}) == {
            n: n for n in names
        }
    (tmp_path / "config.json").write_text(
        json.dumps({"latents_mean": vae.config.latents_mean, "latents_std": vae.config.latents_std})
    )
    loaded = open_part("vae", path).model
    for key in ("z_dim", "patch_size", "scale_factor_spatial", "is_residual", "latents_mean"):
        assert loaded.config[key] == vae.config[key], key
    clip = torch.rand(1, 3, 5, 32, 32)
    with torch.no_grad():
        latents = vae.encode(clip).latent_dist.mode()
        same(loaded.encode(clip).latent_dist.mode(), latents)
        same(loaded.decode(latents).sample, vae.decode(latents).sample)


def hidden_states(part) -> torch.Tensor:
    with torch.no_grad():
        return part.model(torch.arange(12)[None]).last_hidden_state


@pytest.mark.parametrize("layout", ["official", "comfy"])
def test_text_encoder_files_equal_the_folder(tmp_path, folders, layout):
    folder = folders["t2v"] / "text_encoder"
    rename = (lambda n: text_name(n, False)) if layout == "official" else (lambda n: n)
    path = save(tmp_path / "umt5.safetensors", renamed(component(folder), rename))
    write_official_config(tmp_path, dim=64, num_heads=2)  # the transformer's, in the same folder
    part, reference = open_part("text_encoder", path), open_part("text_encoder", folder)
    same(hidden_states(part), hidden_states(reference))


@pytest.mark.parametrize("keep_packed", [True, False])
def test_gguf_text_encoder_equals_what_it_stands_for(tmp_path, folders, keep_packed):
    state = renamed(component(folders["t2v"] / "text_encoder"), lambda n: text_name(n, True))
    means = write_gguf(tmp_path / "umt5.gguf", state, "Q8_0")
    means = {name: tensor.contiguous() for name, tensor in means.items()}
    part = open_part("text_encoder", tmp_path / "umt5.gguf", keep_packed=keep_packed)
    attention = part.model.encoder.block[0].layer[0].SelfAttention
    assert isinstance(attention.q, StoredLinear) == keep_packed
    plain = open_part("text_encoder", save(tmp_path / "plain" / "umt5.safetensors", means))
    same(hidden_states(part), hidden_states(plain))
    original = open_part("text_encoder", folders["t2v"] / "text_encoder")
    assert not torch.allclose(hidden_states(part), hidden_states(original), atol=1e-3)


def make_clip() -> CLIPVisionModel:
    """Random in every tensor: norms of ones and zeros would hide a swap."""
    torch.manual_seed(3)
    clip = CLIPVisionModel(CLIPVisionConfig(
        hidden_size=160, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
        image_size=28, patch_size=14, hidden_act="gelu",
    )).eval()  # fmt: skip
    with torch.no_grad():
        for tensor in clip.parameters():
            tensor += 0.2 * torch.randn_like(tensor)
    return clip


def seen(clip) -> torch.Tensor:
    """What Wan takes of CLIP: everything but its last layer."""
    pixels = torch.rand(1, 3, 28, 28, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return clip(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]


@pytest.mark.parametrize("layout", ["new folder", "old folder", "single file"])
def test_clip_is_read_from_folders_and_files(tmp_path, layout):
    """transformers 5 dropped the prefix that released folders and ComfyUI's file carry."""
    clip = make_clip()
    clip.save_pretrained(tmp_path / "clip")
    file = tmp_path / "clip" / "model.safetensors"
    place = tmp_path / "clip"
    if layout != "new folder":
        old = {f"vision_model.{name}": t for name, t in load_file(file).items()}
        old["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
        old["visual_projection.weight"] = torch.zeros(4, 160)
        if layout == "single file":
            file = place = tmp_path / "clip_vision_h.safetensors"
            write_official_config(tmp_path, dim=64, num_heads=4)  # the transformer's
        save(file, old)
    part = open_part("image_encoder", place)
    assert part.model.config.image_size == 28
    same(seen(part.model), seen(clip))


@pytest.mark.parametrize(
    ("prefix", "resblocks", "dtype"),
    [
        ("visual.", False, torch.float32),
        ("", False, torch.float32),
        ("visual.", True, torch.float32),
        ("visual.", False, torch.float16),
        ("visual.", False, torch.bfloat16),
    ],
    ids=["official", "bare", "open_clip", "fp16", "bf16"],
)
def test_clip_under_open_clips_names_equals_the_folder(tmp_path, prefix, resblocks, dtype):
    clip = make_clip().to(dtype)
    beside = {"log_scale": torch.zeros(())}
    if prefix:
        beside["textual.token_embedding.weight"] = torch.zeros(4, 4)
    state = renamed(open_clip(clip.state_dict(), resblocks), str, prefix)
    part = open_part("image_encoder", save(tmp_path / "clip.safetensors", state | beside))
    assert (part.config["num_hidden_layers"], part.config["image_size"]) == (3, 28)
    same(seen(part.model), seen(clip.float()))


def test_clip_with_queries_keys_and_values_that_cannot_be_parted_is_refused(tmp_path):
    state = open_clip(make_clip().state_dict())
    state["transformer.1.attn.to_qkv.weight"] = torch.zeros(481, 160)
    with pytest.raises(WrongModel, match=r"q_proj.weight as \(481, 160\)"):
        open_part("image_encoder", save(tmp_path / "clip.safetensors", state))


@pytest.mark.parametrize("ending", [".scale_weight", ".weight_scale"])
def test_fp8_scaled_equals_what_it_stands_for(tmp_path, wide, ending):
    official = renamed(wide.state_dict(), official_transformer_name)
    packed = fp8_scaled(official, ending)
    path = save(tmp_path / "fp8.safetensors", packed)
    plain = save(tmp_path / "plain" / "model.safetensors", unpacked_fp8(packed))
    part = open_part("transformer", path)
    assert isinstance(part.model.blocks[0].attn1.to_q, StoredLinear)
    assert part.model.blocks[0].attn1.to_q.weight.element_size() == 1
    expected = velocity(open_part("transformer", plain).model)
    torch.testing.assert_close(velocity(part.model), expected, rtol=0, atol=1e-5)
    close_to_original = (expected - velocity(wide)).abs().max() / velocity(wide).std()
    assert 0 < close_to_original < 0.2


def test_plain_fp8_equals_what_it_stands_for(tmp_path, wide):
    official = renamed(wide.state_dict(), official_transformer_name)
    packed = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in official.items()}
    path = save(tmp_path / "fp8.safetensors", packed)
    plain = {name: tensor.float() for name, tensor in packed.items()}
    expected = open_part("transformer", save(tmp_path / "plain" / "m.safetensors", plain)).model
    same(velocity(open_part("transformer", path).model), velocity(expected))


QUANTS = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0",
          "IQ4_NL", "IQ4_XS", "IQ2_XXS", "IQ3_S"]  # fmt: skip


@pytest.mark.parametrize("quant", QUANTS)
def test_gguf_equals_what_it_stands_for(tmp_path, wide, quant):
    official = renamed(wide.state_dict(), official_transformer_name)
    path = tmp_path / f"wan-{quant}.gguf"
    means = write_gguf(path, official, quant)
    plain = save(tmp_path / "plain" / "model.safetensors", means)
    expected = velocity(open_part("transformer", plain).model)
    packed = velocity(open_part("transformer", path).model)
    unpacked = velocity(open_part("transformer", path, keep_packed=False).model)
    tolerance = 1e-4 * float(expected.abs().max())
    torch.testing.assert_close(packed, expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(unpacked, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("start", "module"),
    [("", ""), ("model.diffusion_model.", ""), ("", "diffusion_model.")],
    ids=["bare", "prefixed T2V", "prefixed module"],
)
def test_a_set_of_single_files_equals_the_folder(tmp_path, folders, start, module):
    folder = folders["vace"]
    transformer = component(folder / "transformer")
    vace = {n: t for n, t in transformer.items() if n.startswith("vace_")}
    base = {n: t for n, t in transformer.items() if n not in vace}
    save(tmp_path / "base.safetensors", renamed(base, official_transformer_name, start))
    module = renamed(vace, official_transformer_name, module)
    save(tmp_path / "module.safetensors", module)
    vae = {n: official_vae_name(n, False, 3) for n in component(folder / "vae")}
    save(tmp_path / "vae.safetensors", renamed(component(folder / "vae"), vae.__getitem__))
    (tmp_path / "config.json").write_text(json.dumps({"dim": 64, "num_heads": 2}))
    made = describe(
        tmp_path,
        {
            "transformer": ["base.safetensors", "module.safetensors"],
            "vae": "vae.safetensors",
            "text_encoder": str(folder / "text_encoder"),
            "tokenizer": str(folder / "tokenizer"),
        },
    )
    bundle, reference = open_model(made, "cpu"), open_model(folder, "cpu")
    assert bundle.traits == reference.traits
    same(velocity(bundle.transformer(1.0)), velocity(reference.transformer(1.0)))
    same(bundle.encode_text(["a ball"]), reference.encode_text(["a ball"]))


def test_one_checkpoint_holds_every_component(tmp_path, folders):
    folder = folders["t2v"]
    vae = {n: official_vae_name(n, False, 3) for n in component(folder / "vae")}
    save(
        tmp_path / "all.safetensors",
        renamed(component(folder / "transformer"), official_transformer_name,
                "model.diffusion_model.")
        | renamed(component(folder / "vae"), vae.__getitem__, "first_stage_model.")
        | renamed(component(folder / "text_encoder"), str, "text_encoders.umt5xxl.transformer."),
    )  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({"dim": 64, "num_heads": 2}))
    parts = dict.fromkeys(("transformer", "vae", "text_encoder"), "all.safetensors")
    made = describe(tmp_path, parts | {"tokenizer": str(folder / "tokenizer")})
    bundle, reference = open_model(made, "cpu"), open_model(folder, "cpu")
    same(velocity(bundle.transformer(1.0)), velocity(reference.transformer(1.0)))
    same(bundle.encode_text(["a ball"]), reference.encode_text(["a ball"]))
