# SPDX-License-Identifier: GPL-3.0-or-later
"""Attention, compiled blocks and fp8 products: on where they run, said why where they do not, and
nothing of them stays on a model that is given back."""

import pytest
import torch

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.engine.models.layouts import velocity
from tests.engine.untrained import write_untrained
from wan_blender.core.settings import Speed
from wan_blender.engine.models import switches
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.models.files.stored import StoredLinear, multiply_fp8, pack
from wan_blender.engine.models.switches import no_fp8_products, restore, switch_on
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch

CPU = torch.device("cpu")


@pytest.fixture
def model(tmp_path):
    return open_model(write_untrained(tmp_path / "model", "t2v"), "cpu").transformer(0.9)


@pytest.fixture
def math(monkeypatch):
    """A backend that runs here under the name of one that needs a card."""
    monkeypatch.setitem(switches.BACKENDS, "flash", "_native_math")
    monkeypatch.setattr(
        switches, "_no_attention", lambda name, device: "" if name == "flash" else "no"
    )


def backends(model):
    found = (getattr(module, "processor", None) for module in model.modules())
    return {p._attention_backend for p in found if p is not None}


@pytest.mark.parametrize("name", [*switches.BACKENDS, "best"])
def test_attention_that_needs_a_card_stays_off(model, name):
    plain = velocity(model)
    switched = switch_on(model, Speed(attention=name), CPU, streamed=False)
    assert switched.attention == "native"
    assert bool(switched.notes) == (name != "best")
    assert torch.equal(velocity(model), plain)


@pytest.mark.parametrize("name", ["flash", "best"])
def test_attention_that_is_there_is_used_and_taken_back(model, math, name):
    plain, other = velocity(model), open_model("", "cpu").transformer(0.9)
    switched = switch_on(model, Speed(attention=name), CPU, streamed=False)
    assert (switched.attention, switched.notes) == ("flash", ())
    assert {found.value for found in backends(model)} == {"_native_math"}
    assert backends(other) == {None}
    torch.testing.assert_close(velocity(model), plain, rtol=1e-4, atol=1e-5)
    restore(model)
    assert backends(model) == {None}
    assert torch.equal(velocity(model), plain)


def test_compiled_blocks_say_the_same_and_are_let_go_of(model):
    plain = velocity(model)
    switched = switch_on(model, Speed(compile=True), CPU, streamed=False)
    if not switched.compiled:
        assert "compiler" in switched.notes[0]
        pytest.skip(switched.notes[0])
    assert all(block._compiled_call_impl for block in model.blocks)
    torch.testing.assert_close(velocity(model), plain, rtol=1e-3, atol=1e-4)
    restore(model)
    assert not any(block._compiled_call_impl for block in model.blocks)
    assert torch.equal(velocity(model), plain)


def test_what_cannot_be_is_said(model, monkeypatch):
    monkeypatch.setattr(switches, "find_program", lambda name: None)
    wanted = Speed(compile=True, fp8_products=True, attention="flash3")
    for streamed, word in ((True, "come and go"), (False, "no C++ compiler")):
        switched = switch_on(model, wanted, CPU, streamed)
        assert (switched.attention, switched.compiled, switched.fp8_products) == (
            "native",
            False,
            False,
        )
        assert len(switched.notes) == 3
        assert any(word in note for note in switched.notes)


@pytest.fixture
def fp8():
    if reason := no_fp8_products(CPU):
        pytest.skip(reason)


@pytest.mark.parametrize("rows", [(1, 7), (2, 33), (48,)])
def test_fp8_products_are_near_those_of_unpacked_weights(fp8, rows):
    torch.manual_seed(0)
    like = torch.nn.Linear(64, 32)
    layer = StoredLinear(like, pack(like.weight.detach()), CPU)
    inputs = torch.randn(*rows, 64) * torch.logspace(-3, 3, rows[-1])[:, None]
    wanted = layer(inputs)
    layer.multiplies_packed = True
    got = layer(inputs)
    assert got.dtype == inputs.dtype
    assert got.shape == wanted.shape
    error = (got - wanted).norm(dim=-1) / wanted.norm(dim=-1)
    assert 0 < error.max() < 0.08
    one_scale = multiply_fp8(inputs, layer.weight.view(torch.float8_e4m3fn), torch.tensor(0.5))
    assert torch.isfinite(one_scale).all()


def test_model_in_fp8_multiplies_in_fp8(fp8, tmp_path):
    part = open_model(write_untrained(tmp_path / "model", "t2v"), "cpu").parts["transformer"]
    part.fit(quantise=True)
    unpacked = velocity(part.model)
    assert switch_on(part.model, Speed(fp8_products=True), CPU, streamed=False).fp8_products
    error = (velocity(part.model) - unpacked).norm() / unpacked.norm()
    assert 0 < error < 0.1
    restore(part.model)
    assert torch.equal(velocity(part.model), unpacked)


@pytest.mark.parametrize("compute", ["dense", "balanced"])
def test_run_uses_what_is_there_and_reports_it(tmp_path, monkeypatch, math, compute):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "cache"))
    plate, mask = noise_plate(9, 96, 160), moving_square(9, 96, 160, 16, 0)
    settings = {"region__mode": "whole", "sampling__steps": 12, "sampling__compute": compute}
    calls, real = [], switches.switch_on

    def seen(*given):
        calls.append(given[0])
        return real(*given)

    monkeypatch.setattr("wan_blender.engine.fitting.switch_on", seen)
    plain = make_job(tmp_path / "plain", plate, mask, **settings)
    assert generate(plain, Watch(plain)).speed is None
    assert calls == []
    job = make_job(tmp_path / "job", plate, mask, speed__attention="flash", **settings)
    report = generate(job, Watch(job))
    assert report.speed.attention == "flash"
    assert report.max_latent_diff_kept == 0
    assert {type(model).__name__ for model in calls} == {"WanVACETransformer3DModel"}
    assert all(backends(model) == {None} for model in calls)
