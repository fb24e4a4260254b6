# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRAs: every dialect means the same, several add up, taking them off leaves no trace."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from diffusers import WanPipeline
from safetensors.torch import load_file

from tests.engine.models.layouts import (
    fp8_scaled,
    official_transformer_name,
    open_part,
    renamed,
    save,
    velocity,
)
from wan_blender.core.errors import UnsafeWeights, WeightsMissing, WrongModel
from wan_blender.engine.models.files.lora import set_loras
from wan_blender.engine.models.files.lora_dialects import (
    DIALECTS,
    is_lora,
    read_key,
    underscored,
)
from wan_blender.engine.models.files.lora_files import check_lora, read_lora
from wan_blender.engine.models.parts import stream_blocks

TARGETS = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "attn2.to_q", "attn2.to_k",
           "attn2.to_v", "attn2.to_out.0", "ffn.net.0.proj", "ffn.net.2")  # fmt: skip


def make(model, seed=0, rank=4) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """layer -> (down, up)"""
    random = torch.Generator().manual_seed(seed)
    pairs = {}
    for block in range(2):
        for target in TARGETS:
            name = f"blocks.{block}.{target}"
            out, inner = model.get_submodule(name).weight.shape
            pairs[name] = (
                torch.randn(rank, inner, generator=random) * 0.1,
                torch.randn(out, rank, generator=random) * 0.1,
            )
    return pairs


def official(layer: str) -> str:
    return official_transformer_name(layer + ".weight").removesuffix(".weight")


def write(path, pairs, dialect, alpha=None):
    names = {
        "diffusers": lambda n: (f"transformer.{n}.lora_A.weight", f"transformer.{n}.lora_B.weight"),
        "peft": lambda n: (
            f"base_model.model.{n}.lora_A.default.weight",
            f"base_model.model.{n}.lora_B.default.weight",
        ),
        "comfy": lambda n: (
            f"diffusion_model.{official(n)}.lora_A.weight",
            f"diffusion_model.{official(n)}.lora_B.weight",
        ),
        "comfy_down": lambda n: (
            f"diffusion_model.{official(n)}.lora_down.weight",
            f"diffusion_model.{official(n)}.lora_up.weight",
        ),
        "kohya": lambda n: (
            f"lora_unet_{official(n).replace('.', '_')}.lora_down.weight",
            f"lora_unet_{official(n).replace('.', '_')}.lora_up.weight",
        ),
        "videox": lambda n: (
            f"lora_unet__{official(n).replace('.', '_')}.lora_down.weight",
            f"lora_unet__{official(n).replace('.', '_')}.lora_up.weight",
        ),
        "lycoris": lambda n: (
            f"lycoris_{official(n).replace('.', '_')}.lora_down.weight",
            f"lycoris_{official(n).replace('.', '_')}.lora_up.weight",
        ),
        "unet": lambda n: (f"unet.{n}.lora_A.weight", f"unet.{n}.lora_B.weight"),
        "kohya_diffusers": lambda n: (
            f"lora_unet_transformer_{n.replace('.', '_')}.lora_down.weight",
            f"lora_unet_transformer_{n.replace('.', '_')}.lora_up.weight",
        ),
        "bare": lambda n: (f"{official(n)}.lora_A.default.weight",
                           f"{official(n)}.lora_B.default.weight"),
    }[dialect]  # fmt: skip
    state = {}
    for layer, (down, up) in pairs.items():
        state |= zip(names(layer), (down, up), strict=True)
        if alpha is not None:
            stem = names(layer)[0].rpartition(".lora")[0]
            state[f"{stem}.alpha"] = torch.tensor(float(alpha))
    return save(path, state)


def merged(model, *parts):
    """A copy of ``model`` with ``weight * up @ down`` added to its matrices."""
    model = copy.deepcopy(model)
    for pairs, weight in parts:
        for layer, (down, up) in pairs.items():
            model.get_submodule(layer).weight += weight * up @ down
    return model


def close(actual, expected, tolerance=2e-5):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "dialect",
    ["diffusers", "peft", "comfy", "comfy_down", "kohya", "videox", "lycoris", "unet",
     "kohya_diffusers", "bare"],
)  # fmt: skip
def test_every_dialect_equals_merged_weights(model, tmp_path, dialect):
    pairs = make(model)
    lora = read_lora(write(tmp_path / "l.safetensors", pairs, dialect), model)
    assert lora.skipped == ()
    assert len(lora.deltas) == len(pairs)
    plain = velocity(model)
    set_loras(model, [(lora, 0.7)])
    expected = velocity(merged(model_without(model), (pairs, 0.7)))
    assert (expected - plain).abs().max() > 0.05
    set_loras(model, [(lora, 0.7)])
    close(velocity(model), expected)
    set_loras(model, [])
    assert torch.equal(velocity(model), plain)


def model_without(model):
    set_loras(model, [])
    return model


@pytest.mark.parametrize("dialect", ["comfy_down", "kohya"])
def test_alpha_scales_by_rank_as_diffusers_does(model, tmp_path, dialect):
    path = write(tmp_path / "l.safetensors", make(model), dialect, alpha=1)
    set_loras(model, [(read_lora(path, model), 0.5)])
    ours = velocity(model)
    set_loras(model, [])
    pipe = WanPipeline(
        tokenizer=None, text_encoder=None, vae=None, scheduler=None,
        transformer=copy.deepcopy(model),
    )  # fmt: skip
    pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name="a")
    pipe.set_adapters(["a"], [0.5])
    close(ours, velocity(pipe.transformer))


def test_alpha_in_the_metadata_of_peft_counts(model, tmp_path):
    pairs = make(model, rank=4)
    state = {}
    for layer, (down, up) in pairs.items():
        state[f"transformer.{layer}.lora_A.weight"] = down
        state[f"transformer.{layer}.lora_B.weight"] = up
    told = {"lora_adapter_metadata": json.dumps({"transformer.r": 4, "transformer.lora_alpha": 8})}
    lora = read_lora(save(tmp_path / "l.safetensors", state, told), model)
    expected = velocity(merged(model, (pairs, 2.0)))
    set_loras(model, [(lora, 1.0)])
    close(velocity(model), expected, 1e-4)
    set_loras(model, [])


def test_several_add_up_without_disabling_each_other(model, tmp_path):
    first, second = make(model, 1), make(model, 2, rank=8)
    loras = [
        (read_lora(write(tmp_path / "a.safetensors", first, "kohya", alpha=4), model), 0.8),
        (read_lora(write(tmp_path / "b.safetensors", second, "comfy"), model), -0.4),
    ]
    expected = velocity(merged(model, (first, 0.8), (second, -0.4)))
    set_loras(model, loras)
    close(velocity(model), expected)
    set_loras(model, loras[:1])
    close(velocity(model), velocity(merged(model_without(copy.deepcopy(model)), (first, 0.8))))
    set_loras(model, [])


def test_packed_weights_take_a_lora_and_stay_packed(wide, tmp_path):
    official_state = renamed(wide.state_dict(), official_transformer_name)
    path = save(tmp_path / "fp8.safetensors", fp8_scaled(official_state))
    packed = open_part("transformer", path).model
    loose = open_part("transformer", path, keep_packed=False).model
    pairs = make(wide)
    before = packed.blocks[0].attn1.to_q.weight.clone()
    set_loras(packed, [(read_lora(write(tmp_path / "l.safetensors", pairs, "comfy"), packed), 1)])
    close(velocity(packed), velocity(merged(loose, (pairs, 1.0))), 1e-4)
    assert torch.equal(packed.blocks[0].attn1.to_q.weight, before)


def test_half_precision_follows_the_model(model, tmp_path):
    half = copy.deepcopy(model).to(torch.bfloat16)
    pairs = make(model)
    lora = read_lora(write(tmp_path / "l.safetensors", pairs, "diffusers"), half)
    set_loras(half, [(lora, 1.0)])
    expected = velocity(merged(model, (pairs, 1.0)))
    assert (velocity(half) - expected).abs().mean() / expected.std() < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_differences_of_bias_norm_and_patches_are_applied(model, tmp_path, dtype):
    torch.manual_seed(5)
    state = {
        "diffusion_model.blocks.0.self_attn.q.diff_b": torch.randn(64) * 0.3,
        "diffusion_model.blocks.1.ffn.0.diff": torch.randn(128, 64) * 0.1,
        "diffusion_model.blocks.0.norm3.diff": torch.randn(64) * 0.3,
        "diffusion_model.blocks.0.norm3.diff_b": torch.randn(64) * 0.3,
        "diffusion_model.blocks.1.self_attn.norm_q.diff": torch.randn(64) * 0.3,
        "diffusion_model.patch_embedding.lora_down.weight": torch.randn(4, 16, 1, 2, 2) * 0.1,
        "diffusion_model.patch_embedding.lora_up.weight": torch.randn(64, 4, 1, 1, 1) * 0.1,
        "diffusion_model.time_projection.1.diff_b": torch.randn(384) * 0.1,
        "diffusion_model.head.head.lora_down.weight": torch.randn(4, 64) * 0.1,
        "diffusion_model.head.head.lora_up.weight": torch.randn(64, 4) * 0.1,
    }
    lora = read_lora(save(tmp_path / "l.safetensors", state), model)
    assert lora.skipped == ()
    expected = copy.deepcopy(model)
    expected.blocks[0].attn1.to_q.bias += state["diffusion_model.blocks.0.self_attn.q.diff_b"]
    expected.blocks[1].ffn.net[0].proj.weight += state["diffusion_model.blocks.1.ffn.0.diff"]
    expected.blocks[0].norm2.weight += state["diffusion_model.blocks.0.norm3.diff"]
    expected.blocks[0].norm2.bias += state["diffusion_model.blocks.0.norm3.diff_b"]
    expected.blocks[1].attn1.norm_q.weight += state[
        "diffusion_model.blocks.1.self_attn.norm_q.diff"
    ]
    down, up = (state[f"diffusion_model.patch_embedding.lora_{x}.weight"] for x in ("down", "up"))
    expected.patch_embedding.weight += torch.einsum("or,rithw->oithw", up[..., 0, 0, 0], down)
    expected.condition_embedder.time_proj.bias += state["diffusion_model.time_projection.1.diff_b"]
    down, up = (state[f"diffusion_model.head.head.lora_{x}.weight"] for x in ("down", "up"))
    expected.proj_out.weight += up @ down
    if dtype == torch.float32:
        set_loras(model, [(lora, 1.0)])
        close(velocity(model), velocity(expected))
        set_loras(model, [])
        return
    half = copy.deepcopy(model).to(dtype)
    set_loras(half, [(lora, 1.0)])
    expected = velocity(expected)
    assert (velocity(half) - expected).abs().mean() / expected.std() < 0.05


@pytest.mark.parametrize("streamed", [False, True])
def test_modulation_is_changed_and_given_back(model, tmp_path, streamed):
    torch.manual_seed(6)
    state = {
        "diffusion_model.blocks.0.diff_m": torch.randn(1, 6, 64) * 0.3,
        "diffusion_model.blocks.1.modulation.diff": torch.randn(1, 6, 64) * 0.3,
        "diffusion_model.head.diff_m": torch.randn(1, 2, 64) * 0.3,
    }
    lora = read_lora(save(tmp_path / "l.safetensors", state), model)
    assert lora.skipped == ()
    expected, plain = copy.deepcopy(model), velocity(model)
    tables = (expected.blocks[0], expected.blocks[1], expected)
    for owner, change in zip(tables, state.values(), strict=True):
        owner.scale_shift_table += 1.5 * change
    if streamed:
        model = copy.deepcopy(model)
        stream_blocks(model, torch.device("cpu"), 1)
    set_loras(model, [(lora, 2.0), (lora, -0.5)])
    close(velocity(model), velocity(expected))
    set_loras(model, [])
    assert torch.equal(velocity(model), plain)


def test_layers_the_model_lacks_are_named(model, tmp_path):
    pairs = make(model)
    path = write(tmp_path / "l.safetensors", pairs, "comfy")
    state = load_file(path)
    extra = "diffusion_model.blocks.0.cross_attn.k_img.lora_A.weight"
    state[extra] = torch.zeros(4, 64)
    lora = read_lora(save(path, state), model)
    assert lora.skipped == ("diffusion_model.blocks.0.cross_attn.k_img",)
    assert len(lora.deltas) == len(pairs)


Q = "diffusion_model.blocks.0.self_attn.q"
PAIR = {f"{Q}.lora_down.weight": torch.zeros(4, 64), f"{Q}.lora_up.weight": torch.zeros(64, 4)}


@pytest.mark.parametrize(
    ("spoilt", "error", "words"),
    [
        ({f"{Q}.lora_up.weight": torch.zeros(64, 8)}, WeightsMissing, r"\(64, 8\) and \(4, 64\)"),
        ({f"{Q}.lora_up.weight": torch.zeros(64)}, WeightsMissing, r"\(64,\) and \(4, 64\)"),
        ({f"{Q}.lora_up.weight": torch.zeros(64, 0), f"{Q}.lora_down.weight": torch.zeros(0, 64)},
         WeightsMissing, r"\(64, 0\)"),
        ({f"{Q[:-1]}k.lora_up.weight": torch.zeros(64, 4)}, WeightsMissing, "one of the two"),
        ({f"{Q}.alpha": torch.ones(3)}, WeightsMissing, r"alpha is \[1.0, 1.0, 1.0\]"),
        ({f"{Q}.alpha": torch.tensor(float("nan"))}, WeightsMissing, "alpha is nan"),
        ({f"{Q}.diff_b": torch.zeros(17)}, WrongModel, r"bias of .*\(17,\).*\(64,\)"),
        ({"blocks.0.norm3.diff": torch.zeros(17)}, WrongModel, r"\(17,\).*\(64,\)"),
        ({"blocks.0.diff_m": torch.zeros(1, 6, 17)}, WrongModel, r"\(1, 6, 17\).*\(1, 6, 64\)"),
        ({f"{Q}.diff": torch.zeros(64, 64, dtype=torch.int8)}, WrongModel, "as I8"),
    ],
    ids=["ranks", "vector", "rank 0", "half", "alphas", "nan", "bias", "norm", "table", "int8"],
)  # fmt: skip
def test_tensors_that_fit_nothing_are_told_from_the_header(model, tmp_path, spoilt, error, words):
    path = save(tmp_path / "l.safetensors", PAIR | spoilt)
    for read in (check_lora, read_lora):
        with pytest.raises(error, match=words):
            read(path, copy.deepcopy(model).to("meta"))


def test_a_bias_where_the_model_has_none_is_named(model, tmp_path):
    name = "blocks.0.self_attn.norm_q.diff_b"
    lora = read_lora(save(tmp_path / "l.safetensors", PAIR | {name: torch.ones(64)}), model)
    assert lora.skipped == ("blocks.0.attn1.norm_q",)
    assert list(lora.deltas) == ["blocks.0.attn1.to_q"]


@pytest.mark.parametrize("text", ["3", "{", '{"r": 4, "lora_alpha": "8"}'])
def test_alpha_of_peft_that_cannot_be_read_is_told(model, tmp_path, text):
    path = save(tmp_path / "a.safetensors", PAIR, {"lora_adapter_metadata": text})
    with pytest.raises(WeightsMissing, match=r"alpha is '8'|metadata is"):
        read_lora(path, model)
    path = save(tmp_path / "adapter_model.safetensors", PAIR)
    for data in (text.encode(), b"\xff\xfe"):
        path.with_name("adapter_config.json").write_bytes(data)
        with pytest.raises(WeightsMissing, match=r"adapter_config|alpha is '8'"):
            read_lora(path, model)


def test_lora_of_another_size_is_refused_with_both_shapes(model, wide, tmp_path):
    path = write(tmp_path / "l.safetensors", make(wide), "comfy")
    with pytest.raises(WrongModel, match=r"\(256, 256\).*\(64, 64\)"):
        read_lora(path, model)


def test_files_that_are_no_lora_are_refused(model, tmp_path):
    whole = save(tmp_path / "w.safetensors", {"blocks.0.attn1.to_q.weight": torch.zeros(64, 64)})
    with pytest.raises(WrongModel, match="not a LoRA"):
        read_lora(whole, model)
    for kind, name in (
        ("DoRA", "blocks.0.self_attn.q.dora_scale"),
        ("DoRA", "blocks.0.self_attn.q.lora_magnitude_vector"),
        ("Tucker", "patch_embedding.lora_mid.weight"),
        ("Tucker", "patch_embedding.hada_t1"),
    ):
        pairs = load_file(write(tmp_path / "d.safetensors", make(model), "comfy"))
        pairs[f"diffusion_model.{name}"] = torch.ones(64, 1)
        with pytest.raises(WrongModel, match=kind):
            read_lora(save(tmp_path / "d.safetensors", pairs), model)
    lokr = save(tmp_path / "k.safetensors", {"blocks.0.attn1.to_q.lokr_w1": torch.zeros(4, 4)})
    with pytest.raises(WeightsMissing, match=r"factors of blocks.0.attn1.to_q"):
        read_lora(lokr, model)
    with pytest.raises(UnsafeWeights):
        read_lora(tmp_path / "x.pt", model)
    with pytest.raises(WeightsMissing):
        read_lora(tmp_path / "nowhere.safetensors", model)


SPELLINGS = [
    "transformer.{diffusers}.lora_A.speed.weight",
    "_orig_mod.{diffusers}.lora_A.weight",
    "diffusion_model._orig_mod.{official}.lora_down.weight",
    "blocks.{block}._fsdp_wrapped_module.{rest}.lora_A.weight",
    "_fsdp_wrapped_module.blocks.{block}._checkpoint_wrapped_module.{rest}.lora_A.weight",
    "lora_unet__orig_mod_{underscored}.lora_down.weight",
    "model.{official}.lora_A.weight",
    "generator.{official}.lora_A.default.weight",
    "generator.model.{official}.lora_A.weight",
    "module.{official}.lora_A.weight",
    "diffusion_model.diffusion_model.{official}.lora_A.weight",
    "model.diffusion_model.{official}.lora_A.weight",
    "base_model.model.diffusion_model.{official}.lora_A.default.weight",
    "transformer.{diffusers}.lora_linear_layer.down.weight",
    "unet.{diffusers}.lora.down.weight",
    "lora_unet_blocks_{block}.{rest}.lora_down.weight",
    "diffusion_model.blocks.{block}_{rest_underscored}.lora_down.weight",
    "pipe.dit.{official}.lora_A.default.weight",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_however_layers_are_spelled_they_are_the_same(model, tmp_path, spelling):
    pairs, state = make(model), {}
    for layer, (down, up) in pairs.items():
        _, block, rest = official(layer).split(".", 2)
        name = spelling.format(
            diffusers=layer, official=official(layer), block=block, rest=rest,
            rest_underscored=rest.replace(".", "_"), underscored=official(layer).replace(".", "_"),
        )  # fmt: skip
        state[name] = down
        upper = name.replace("lora_A", "lora_B").replace("lora_down", "lora_up")
        state[upper.replace(".down.", ".up.")] = up
    lora = read_lora(save(tmp_path / "l.safetensors", state), model)
    assert (lora.skipped, set(lora.deltas)) == ((), set(pairs))
    for layer, (down, up) in pairs.items():
        assert torch.equal(lora.deltas[layer].down, down)
        assert torch.equal(lora.deltas[layer].up, up)


def test_processors_of_diffusers_before_peft_are_read(model, tmp_path):
    """They changed attention alone, and called the output layer without its number."""
    pairs = {layer: pair for layer, pair in make(model).items() if "attn" in layer}
    for ending in (".processor.{}_lora", ".{}.lora"):
        state = {}
        for layer, (down, up) in pairs.items():
            attention, _, inner = layer.removesuffix(".0").rpartition(".")
            name = f"transformer.{attention}{ending.format(inner)}"
            state |= {f"{name}.down.weight": down, f"{name}.up.weight": up}
        lora = read_lora(save(tmp_path / "l.safetensors", state), model)
        assert (lora.skipped, set(lora.deltas)) == ((), set(pairs))


def test_a_file_of_several_loras_is_refused(model, tmp_path):
    state = {}
    for adapter in ("first", "second"):
        state[f"blocks.0.attn1.to_q.lora_A.{adapter}.weight"] = torch.zeros(4, 64)
        state[f"blocks.0.attn1.to_q.lora_B.{adapter}.weight"] = torch.zeros(64, 4)
    with pytest.raises(WrongModel, match=r"twice.*second.*split it"):
        read_lora(save(tmp_path / "l.safetensors", state), model)


@pytest.mark.parametrize("name", DIALECTS)
def test_the_example_of_a_dialect_is_of_the_first_layer(model, name):
    key = read_key(DIALECTS[name].example)
    places = {"blocks_0_attn1_to_q", "blocks_0_self_attn_q"}
    assert underscored(key.layer) in places
    assert is_lora(DIALECTS[name].example)


def test_lycoris_changes_convolutions_and_norms(model, tmp_path):
    """A LoKr without rank scales by 1 whatever its alpha, one with a rank by alpha / rank."""
    torch.manual_seed(4)
    shape = model.patch_embedding.weight.shape
    state = {
        "lycoris_patch_embedding.lokr_w1": torch.randn(8, 4) * 0.2,
        "lycoris_patch_embedding.lokr_w2": torch.randn(8, 4, 1, 2, 2) * 0.2,
        "lycoris_patch_embedding.alpha": torch.tensor(1e10),
        "lycoris_blocks_0_ffn_0.lokr_w1": torch.randn(16, 8) * 0.2,
        "lycoris_blocks_0_ffn_0.lokr_w2_a": torch.randn(8, 3) * 0.2,
        "lycoris_blocks_0_ffn_0.lokr_w2_b": torch.randn(3, 8) * 0.2,
        "lycoris_blocks_0_ffn_0.alpha": torch.tensor(6.0),
        "lycoris_blocks_1_ffn_2.hada_w1_a": torch.randn(64, 4) * 0.2,
        "lycoris_blocks_1_ffn_2.hada_w1_b": torch.randn(4, 128) * 0.2,
        "lycoris_blocks_1_ffn_2.hada_w2_a": torch.randn(64, 4) * 0.2,
        "lycoris_blocks_1_ffn_2.hada_w2_b": torch.randn(4, 128) * 0.2,
        "lycoris_blocks_1_ffn_2.alpha": torch.tensor(2.0),
        "lycoris_blocks_0_self_attn_norm_q.w_norm": torch.randn(64) * 0.2,
    }
    lora = read_lora(save(tmp_path / "l.safetensors", state), model)
    assert lora.skipped == ()
    part = {name.removeprefix("lycoris_"): tensor for name, tensor in state.items()}
    expected = copy.deepcopy(model)
    kron = torch.einsum(
        "ab,cdefg->acbdefg", part["patch_embedding.lokr_w1"], part["patch_embedding.lokr_w2"]
    )
    expected.patch_embedding.weight += kron.reshape(shape)
    w2 = part["blocks_0_ffn_0.lokr_w2_a"] @ part["blocks_0_ffn_0.lokr_w2_b"]
    expected.blocks[0].ffn.net[0].proj.weight += 2 * torch.kron(part["blocks_0_ffn_0.lokr_w1"], w2)
    one, two = (
        part[f"blocks_1_ffn_2.hada_{w}_a"] @ part[f"blocks_1_ffn_2.hada_{w}_b"]
        for w in ("w1", "w2")
    )
    expected.blocks[1].ffn.net[2].weight += 0.5 * one * two
    expected.blocks[0].attn1.norm_q.weight += part["blocks_0_self_attn_norm_q.w_norm"]
    set_loras(model, [(lora, 1.0)])
    actual = velocity(model)
    set_loras(model, [])
    close(actual, velocity(expected))
