# SPDX-License-Identifier: GPL-3.0-or-later
"""Configurations read from shapes, at the sizes of the released models. No weights: models on the
meta device have every name and shape and take no memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

from tests.engine.models.layouts import official_transformer_name, official_vae_name, text_name
from wan_blender.core.errors import WrongModel
from wan_blender.engine.models.files.configs import infer_config
from wan_blender.engine.models.files.dialects import roles, translate
from wan_blender.engine.models.files.tensor_files import TensorInfo
from wan_blender.model_info.traits import model_kind

BIG = {"num_attention_heads": 40, "attention_head_dim": 128, "ffn_dim": 13824, "num_layers": 40,
       "text_dim": 4096, "freq_dim": 256}  # fmt: skip
SMALL = BIG | {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}
CLIP = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}
RELEASED = {
    "Wan 2.1 T2V 1.3B": ("t2v", SMALL),
    "Wan 2.1 T2V 14B, each expert of Wan 2.2 T2V": ("t2v", BIG),
    "Wan 2.1 I2V 14B": ("i2v", BIG | CLIP),
    "Wan 2.1 FLF2V 14B": ("flf2v", BIG | CLIP | {"pos_embed_seq_len": 514}),
    "each expert of Wan 2.2 I2V": ("i2v", BIG | {"in_channels": 36}),
    "Wan 2.2 TI2V 5B": (
        "ti2v",
        BIG | {"num_attention_heads": 24, "ffn_dim": 14336, "num_layers": 30, "in_channels": 48,
               "out_channels": 48},
    ),
    "Wan 2.1 VACE 1.3B": ("vace", SMALL | {"vace_layers": list(range(0, 30, 2))}),
    "Wan 2.1 VACE 14B": ("vace", BIG | {"vace_layers": list(range(0, 40, 5))}),
}  # fmt: skip


def read_back(role, state, rename):
    """What the reader makes of the official names and shapes of ``state``."""
    official = {rename(name): tuple(t.shape) for name, t in state.items()}
    assert roles(official) == {role: ""}
    infos = {
        name: TensorInfo("BF16", official[raw], Path("x"))
        for name, raw in translate(role, official).items()
    }
    assert set(infos) == set(state)
    return infer_config(role, infos)


@pytest.mark.parametrize("name", RELEASED)
def test_released_transformers_are_read_from_their_shapes(name):
    kind, config = RELEASED[name]
    cls = WanVACETransformer3DModel if kind == "vace" else WanTransformer3DModel
    with init_empty_weights():
        model = cls(**config)
    told = read_back("transformer", model.state_dict(), official_transformer_name)
    assert model_kind(told) == kind
    for key, value in told.items():
        expected = cls.__name__ if key == "_class_name" else model.config[key]
        assert (list(value) if isinstance(value, list | tuple) else value) == (
            list(expected) if isinstance(expected, list | tuple) else expected
        ), key


WAN_2_2 = {"base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "in_channels": 12,
           "out_channels": 12, "patch_size": 2, "is_residual": True,
           "scale_factor_spatial": 16}  # fmt: skip


@pytest.mark.parametrize("config", [{}, WAN_2_2], ids=["Wan 2.1", "Wan 2.2"])
def test_released_vaes_are_read_from_their_shapes(config):
    # the statistics of the 48 channels are given: diffusers' defaults are those of Wan 2.1
    with init_empty_weights():
        model = AutoencoderKLWan(**config)
    nested = bool(config)
    told = read_back("vae", model.state_dict(), lambda n: official_vae_name(n, nested, 4))
    for key, value in told.items():
        if key == "_class_name":
            continue
        if key in ("latents_mean", "latents_std"):
            assert len(value) == 48
            continue
        expected = model.config[key]
        if key == "decoder_base_dim" and expected is None:
            expected = model.config.base_dim
        assert value == expected, key


@pytest.mark.parametrize("llama", [False, True])
def test_umt5_xxl_is_read_from_its_shapes(llama):
    released = UMT5Config(
        vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    with init_empty_weights():
        state = UMT5EncoderModel(released).state_dict()
    state.pop("encoder.embed_tokens.weight")
    told = read_back("text_encoder", state, lambda n: text_name(n, llama))
    for key, value in told.items():
        assert value == getattr(released, key), key


def infos_of(model):
    return {n: TensorInfo("BF16", tuple(t.shape), Path("x")) for n, t in model.state_dict().items()}


@pytest.mark.parametrize(
    "odd",
    [
        {"num_heads": "12"}, {"num_heads": 7}, {"num_heads": 0}, {"num_heads": True},
        {"num_heads": [12]}, {"eps": "small"}, {"eps": -1.0}, {"vace_layers": [0, "x"]},
        {"vace_layers": [0, 10**9]}, {"vace_layers": 3},
    ],
)  # fmt: skip
def test_configuration_that_cannot_be_of_the_model_is_passed_over(odd):
    with init_empty_weights():
        model = WanVACETransformer3DModel(**SMALL | {"vace_layers": list(range(0, 30, 2))})
    infos = infos_of(model)
    assert infer_config("transformer", infos, odd) == infer_config("transformer", infos)


def test_configuration_of_the_model_is_used():
    with init_empty_weights():
        model = WanVACETransformer3DModel(**SMALL | {"vace_layers": list(range(0, 30, 2))})
    told = infer_config(
        "transformer", infos_of(model), {"num_heads": 24, "eps": 1e-5, "vace_layers": [*range(15)]}
    )
    assert (told["num_attention_heads"], told["attention_head_dim"], told["eps"]) == (24, 64, 1e-5)
    assert told["vace_layers"] == [*range(15)]


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("Wan 2.2 TI2V 5B", {"dim": 1536, "ffn_dim": 8960, "num_heads": 12, "num_layers": 30}),
        ("Wan 2.1 T2V 1.3B", {"dim": 3072, "ffn_dim": 14336, "num_heads": 24, "num_layers": 30}),
        ("Wan 2.2 TI2V 5B", {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}),
        ("Wan 2.1 T2V 1.3B", {"num_attention_heads": 24, "num_layers": 40}),
    ],
)
def test_configuration_of_another_wan_is_passed_over(name, beside):
    """Its heads divide the channels of this one."""
    with init_empty_weights():
        infos = infos_of(WanTransformer3DModel(**RELEASED[name][1]))
    told = infer_config("transformer", infos, beside | {"eps": 1e-5})
    assert told == infer_config("transformer", infos)
    assert told["attention_head_dim"] == 128


def test_statistics_of_latents_that_cannot_be_are_passed_over():
    with init_empty_weights():
        infos = infos_of(AutoencoderKLWan(**WAN_2_2))
    for odd in ("x", [0.0] * 16, ["0"] * 48):
        assert infer_config("vae", infos, {"latents_mean": odd}) == infer_config("vae", infos)


def test_vae_that_enlarges_is_refused():
    with init_empty_weights():
        infos = infos_of(AutoencoderKLWan())
    rows, *rest = infos["decoder.conv_out.weight"].shape
    infos["decoder.conv_out.weight"] = TensorInfo("BF16", (4 * rows, *rest), Path("x"))
    with pytest.raises(WrongModel, match="takes 3 channels and makes 12"):
        infer_config("vae", infos)


def test_inpainting_5b_is_a_kind_of_its_own():
    five_b = {"_class_name": "WanTransformer3DModel", "in_channels": 100, "out_channels": 48}
    assert model_kind(five_b) == "ti2v_inp"
    assert model_kind(five_b | {"in_channels": 36, "out_channels": 16}) == "i2v"
