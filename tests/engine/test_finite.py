# SPDX-License-Identifier: GPL-3.0-or-later
"""NaN and infinity end a run with a sentence that says where, whose and what to try."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.engine.folders import make_job, moving_square, noise_plate
from wan_blender.core.errors import NotFinite
from wan_blender.core.result import find_result
from wan_blender.engine.cache import cached
from wan_blender.engine.finite import find_broken_weights, require_finite
from wan_blender.engine.nano import VARIANTS
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "tensors"))


@pytest.fixture
def broken(tmp_path):
    """``broken("vae", "decoder.conv_in.bias")``: the bundled model with one NaN in that tensor."""

    def copy(part, tensor):
        home = shutil.copytree(VARIANTS["vace"].parent, tmp_path / "nano")
        place = home / ("vace" if part == "transformer" else "base") / part
        (file,) = place.glob("*.safetensors")
        tensors = load_file(file)
        tensors[tensor].view(-1)[0] = float("nan")
        save_file(tensors, file)
        return home / "vace"

    return copy


@pytest.mark.parametrize(
    ("part", "tensor", "said"),
    [
        ("transformer", "proj_out.weight", r"transformer at step 1 of 2 \(noise level 1.000\)"),
        ("vae", "encoder.conv_in.weight", "The VAE, encoding gave NaN"),
        ("vae", "decoder.conv_in.weight", "The VAE, decoding latent 1 of 2, gave NaN"),
        ("text_encoder", "encoder.final_layer_norm.weight", "The text encoder gave NaN"),
    ],
)
def test_nan_in_the_weights_is_a_named_failure(tmp_path, broken, part, tensor, said):
    folder = tmp_path / "job"
    settings = {"model__path": str(broken(part, tensor)), "sampling__steps": 2}
    make_job(folder, noise_plate(5, 64, 64), moving_square(5, 64, 64, 24), **settings)
    with pytest.raises(NotFinite, match=said) as told:
        generate(folder, Watch(folder))
    if part != "text_encoder":
        assert tensor in told.value.message
        assert "damaged" in told.value.hint
    assert find_result(folder) is None


def test_overflow_of_float16_proposes_a_wider_type():
    model = torch.nn.Linear(4, 4).half()
    values = torch.full((2,), 60000.0, dtype=torch.float16) * 2
    with pytest.raises(NotFinite, match="gave infinite values in float16") as told:
        require_finite(values, "The transformer", model)
    assert "bfloat16" in told.value.hint


def test_finite_values_pass_as_they_are():
    values = torch.randn(3)
    assert require_finite(values, "It") is values
    assert find_broken_weights(torch.nn.Linear(2, 2)) == ""


def test_cached_tensor_with_nan_is_a_miss():
    cached(lambda: torch.tensor([float("nan")]), "key")
    assert cached(lambda: torch.tensor([2.0]), "key") == 2.0
