# SPDX-License-Identifier: GPL-3.0-or-later
"""The attention budget against the dense matrix, and that measuring it changes nothing."""

import json

import numpy as np
import pytest
import torch

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.engine.tiny import golden_transformer
from wan_blender.core import job as jobs
from wan_blender.engine.insight import attention
from wan_blender.engine.insight.attention import (
    BudgetWatch,
    _rows,
    attend,
    mass_of,
    part_frames,
    split_cross,
)
from wan_blender.engine.nano import VARIANTS
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch

FRAMES, TOKENS = 3, 10


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path_factory.getbasetemp() / "tensors"))


def tokens(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, key and value (1, 2, t n, 8); keys far from uniform."""
    torch.manual_seed(seed)
    query, key, value = torch.randn(3, 1, 2, FRAMES * TOKENS, 8)
    return query, 2 * key, value


def dense(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    return (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_partition_equals_the_dense_matrix(dtype):
    query, key, value = (x.to(dtype) for x in tokens(2))
    limit = 1e-6 if dtype == torch.float32 else 1e-12
    matrix = dense(query, key)
    frame = torch.arange(FRAMES * TOKENS) // TOKENS
    own = (frame[:, None] == frame[None]).to(dtype)
    parted = part_frames(query, key, value, FRAMES)
    assert torch.allclose(parted.mass, (matrix * own).sum(-1), atol=limit, rtol=0)
    scale = value.abs().max()  # outputs are means of values
    for found, part in ((parted.inside, own), (parted.outside, 1 - own)):
        assert torch.allclose(found / scale, (matrix * part) @ value / scale, atol=limit, rtol=0)


def test_mass_of_some_keys_equals_the_dense_matrix():
    query, key, value = tokens()
    lse = attend(query, key, value)[1]
    wanted = dense(query, key)[..., 4:9].sum(-1)
    assert torch.allclose(mass_of(query, key, lse, slice(4, 9)), wanted, atol=1e-6, rtol=0)


def test_without_a_kernel_the_same_comes_out():
    for one, other in zip(attend(*tokens()), _rows(*tokens())):
        assert torch.allclose(one, other, atol=2e-6, rtol=0)


def test_a_planted_sink_is_recovered():
    """beta q/|q| added to the keys of frame 0 raises the mass that is found there."""
    query, key, value = tokens()
    lse = attend(query, key, value)[1]
    before = mass_of(query, key, lse, slice(0, TOKENS)).mean()
    key = key.clone()
    key[:, :, :TOKENS] += 3 * torch.nn.functional.normalize(query.mean(2, keepdim=True), dim=-1)
    lse = attend(query, key, value)[1]
    after = mass_of(query, key, lse, slice(0, TOKENS)).mean()
    wanted = dense(query, key)[..., :TOKENS].sum(-1).mean()
    assert float(after) == pytest.approx(float(wanted), abs=1e-6)
    assert after != before


def test_some_queries_stand_for_all(monkeypatch):
    """The same places of each frame are asked; what they say lies near what all say."""
    monkeypatch.setattr(attention, "QUERIES", 12)
    asked = attention.choose_queries(FRAMES * TOKENS, FRAMES)
    assert asked.tolist() == sorted(set(asked.tolist()))
    assert len(asked) == 12
    assert len(set((asked % TOKENS).tolist())) == 4
    query, key, value = tokens()
    whole = part_frames(query, key, value, FRAMES)
    some = part_frames(query[:, :, asked], key, value, FRAMES)
    assert torch.allclose(some.mass, whole.mass[:, :, asked], atol=1e-6, rtol=0)
    budgets = []
    for most in (1024, 24):
        monkeypatch.setattr(attention, "QUERIES", most)
        watch = BudgetWatch([1.0, 0.9, 0.5, 0.0], [0])
        call(watch)
        budgets.append(watch.report().stages[0])
    assert budgets[1].self_structural == pytest.approx(budgets[0].self_structural, abs=0.1)


def test_cross_energies_add_up_and_tell_steady_from_changing():
    torch.manual_seed(0)
    steady = torch.randn(1, 1, TOKENS, 6).repeat(1, FRAMES, 1, 1).flatten(1, 2)
    changing = torch.randn(1, FRAMES * TOKENS, 6)
    assert split_cross(steady, FRAMES)[1] == pytest.approx(0, abs=1e-6)
    both = split_cross(changing, FRAMES)
    assert sum(both) == pytest.approx(float(changing.square().sum()), rel=1e-5)
    assert both[1] > both[0]


def call(watch: BudgetWatch | None, step: int = 0) -> torch.Tensor:
    model = golden_transformer()
    torch.manual_seed(0)
    x, text = torch.randn(1, 16, 3, 8, 8), torch.randn(1, 12, 64)
    run = watch.over(model, model, step, range(3)) if watch else model
    with torch.no_grad():
        given = {"hidden_states": x, "timestep": torch.tensor([900.0])}
        first = run(**given, encoder_hidden_states=text, return_dict=False)[0]
        run(**given, encoder_hidden_states=-text, return_dict=False)
    return first


def test_output_is_bit_equal_and_the_model_is_left_as_it_was():
    model, watch = golden_transformer(), BudgetWatch([1.0, 0.9, 0.5, 0.0], [0])
    theirs = [block.attn1.processor for block in model.blocks]
    plain = call(None)
    assert torch.equal(call(watch), plain)
    assert torch.equal(call(BudgetWatch([1.0] * 9 + [0.0], [0]), 1), plain)
    assert [block.attn1.processor for block in model.blocks] == theirs
    assert not any(block._forward_pre_hooks for block in model.blocks)


def test_budget_of_a_call_is_that_of_its_conditional_branch():
    watch = BudgetWatch([1.0, 0.9, 0.5, 0.0], [0])
    call(watch)
    found = watch.report()
    assert [budget.layer for budget in found.layers] == [0, 1]
    for budget in found.layers:
        shares = (budget.self_structural, budget.self_temporal, budget.cross_structural,
                  budget.cross_temporal)  # fmt: skip
        assert sum(shares) == pytest.approx(1, abs=1e-3)
        assert min(shares) > 0
        assert 0 < budget.in_frame < 1
        assert budget.uniform == pytest.approx(1 / 3, abs=1e-3)
        assert 0 < budget.first_frame < 1
    assert not call_is_measured(step=1)


def call_is_measured(step: int) -> bool:
    watch = BudgetWatch([1.0] * 9 + [0.0], [0])
    call(watch, step)
    return bool(watch.report().layers)


def test_steps_around_each_hand_over_are_measured():
    watch = BudgetWatch([1.0] * 20 + [0.0], [0, 7])
    assert watch.steps == {0, 6, 7, 9, 19}


def test_a_run_reports_its_budget_and_its_pixels_stay_the_same(tmp_path):
    plate, mask = noise_plate(13, 64, 64), moving_square(13, 64, 64)
    for name, wanted in (("off", False), ("on", True)):
        settings = {
            "insight__attention": wanted,
            "model__path": str(VARIANTS["experts"]),
            "sampling__steps": 4,
            "region__mode": "whole",
            "windows__frames": 9,
            "windows__overlap": 4,
        }
        make_job(tmp_path / name, plate, mask, **settings)
        generate(tmp_path / name, Watch(tmp_path / name))
    off, on = (tmp_path / name / "result" for name in ("off", "on"))
    assert "attention" not in json.loads((off / "report.json").read_text())
    found = json.loads((on / "report.json").read_text())["attention"]
    assert [stage["stage"] for stage in found["stages"]] == [0, 1]
    assert len(found["sentences"]) == 2
    assert np.isfinite([layer["self_temporal"] for layer in found["layers"]]).all()
    for index in range(13):
        name = jobs.frame_name(index)
        assert (off / jobs.PATCH / name).read_bytes() == (on / jobs.PATCH / name).read_bytes()
