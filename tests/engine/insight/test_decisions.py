# SPDX-License-Identifier: GPL-3.0-or-later
"""What is noted while a run is sampled, what is said of it, and that it changes nothing."""

import json

import numpy as np
import pytest
import torch

from benchmarks.decisions import foretelling
from tests.engine.folders import make_job, moving_square, noise_plate
from wan_blender.core import job as jobs
from wan_blender.engine.conditioning.text import TextOnly, guided_velocity
from wan_blender.engine.frames.files import read_png
from wan_blender.engine.insight.decisions import DecisionWatch, Signals
from wan_blender.engine.insight.diagnosis import (
    MASK,
    PLATE,
    above,
    judge,
    ranks,
    residual,
    settle_levels,
)
from wan_blender.engine.nano import VARIANTS
from wan_blender.engine.pipeline import generate
from wan_blender.engine.sample.loop import MaskedSource, State, denoise
from wan_blender.engine.sample.release import make_law
from wan_blender.engine.watch import Watch

SIGMAS = [1.0, 0.95, 0.9, 0.6, 0.3, 0.0]
SHAPE = (1, 4, 3, 8, 8)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path_factory.getbasetemp() / "tensors"))


def halves() -> np.ndarray:
    """(t, h, w): the left half is masked."""
    mask = np.zeros(SHAPE[2:], bool)
    mask[:, :, :4] = True
    return mask


def source() -> MaskedSource:
    torch.manual_seed(0)
    z, noise = torch.randn(2, *SHAPE)
    return MaskedSource(z, noise, torch.from_numpy(halves())[None, None].float())


def watched_run(solver: str = "euler", probes: bool = True) -> tuple[Signals, torch.Tensor, int]:
    """A model that believes in z + sigma: its signals, the result, and how often it was called."""
    masked, calls = source(), 0
    watched = DecisionWatch(masked, 0, SIGMAS, None, 0, probes)

    def predict(x, level, step):
        nonlocal calls
        calls += 1
        return (x - masked.z - level) / level

    law = make_law("static", masked.mask, SIGMAS, 1.0)
    state = None
    for stage, stop in enumerate((3, 5)):
        on_step = watched.after(lambda state: None, predict)
        model = watched.watch(predict, stage)
        state = denoise(model, masked, SIGMAS, law, solver, 0, state, stop, on_step)
    return watched.signals, state.x, calls


def test_drift_is_the_speed_of_the_estimate_and_the_switch_is_none():
    signals, _, calls = watched_run()
    assert signals.handover == 2
    assert sorted(signals.drift) == [1, 2, 4]
    assert sorted(signals.switch) == [3]
    for speed in signals.drift.values():
        np.testing.assert_allclose(speed, 1, atol=2e-3)
    np.testing.assert_allclose(signals.probe, 0, atol=1e-3)  # noise does not change its mind
    assert calls == 5 + 2


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_watching_changes_no_bit(solver):
    masked = source()
    law = make_law("static", masked.mask, SIGMAS, 1.0)

    def predict(x, level, step):
        return (x - masked.z - level) / level

    plain = denoise(predict, masked, SIGMAS, law, solver).x
    assert torch.equal(watched_run(solver)[1], plain)


def test_a_step_that_is_made_again_is_noted_once():
    watched = DecisionWatch(source(), 0, SIGMAS, None, 0, False)
    model = watched.watch(lambda x, level, step: x, 0)
    x = torch.zeros(SHAPE)
    for step, value in ((0, 1.0), (1, 3.0), (1, 9.0), (2, 3.0)):
        model(x + value, 0.0, step)
    np.testing.assert_allclose(watched.signals.drift[1], 2 / 0.05, rtol=1e-2)
    np.testing.assert_allclose(watched.signals.drift[2], 0, atol=1e-3)


def test_gap_is_that_of_the_branches_averaged_over_windows():
    watched = DecisionWatch(source(), 1, SIGMAS, None, 0, False)

    def predict(x, level, step):
        watched.see_branches([0, 1, 2], torch.full((1, 4, 3, 8, 8), 3.0), torch.zeros(1))
        watched.see_branches([0, 2, 3], torch.full((1, 4, 3, 8, 8), 1.0), torch.zeros(1))
        return x

    watched.watch(predict, 0)(torch.zeros(1, 4, 4, 8, 8), 1.0, 0)
    np.testing.assert_allclose(watched.signals.gap[0][:, 0, 0], [3, 2, 1])


def test_guidance_shows_both_branches_and_returns_the_same():
    seen = []

    def transformer(encoder_hidden_states, hidden_states, timestep, return_dict):
        return (hidden_states + encoder_hidden_states.mean(),)

    x, one, two = torch.zeros(SHAPE), torch.ones(1, 2, 3), torch.full((1, 2, 3), 0.5)
    given = (transformer, TextOnly(None, None), one, two, 3.0, x, 1.0, range(3))
    plain = guided_velocity(*given)
    shown = guided_velocity(*given, see_branches=lambda *branches: seen.append(branches))
    assert torch.equal(plain, shown)
    ((latents, wanted, unwanted),) = seen
    assert list(latents) == [0, 1, 2]
    assert float((wanted - unwanted).mean()) == pytest.approx(0.5)


def test_what_follows_the_content_alone_leaves_nothing():
    rng = np.random.default_rng(0)
    energy = np.exp(rng.uniform(-1, 1, (3, 16, 16)))
    plate = np.zeros(energy.shape, bool)
    plate[:, 8:] = True
    signal = energy**0.7
    left = residual(signal, energy, plate)
    assert np.ptp(left) < 0.2
    unsure = np.zeros_like(plate)
    unsure[1, 2:5, 2:5] = True
    score = above(residual(np.where(unsure, 3 * signal, signal), energy, plate), plate)
    assert (score[unsure] > 0.95).mean() > 0.8
    assert (score[plate] > 0.95).mean() == pytest.approx(0.05, abs=0.02)


def test_ranks_share_ties():
    np.testing.assert_array_equal(ranks(np.array([3.0, 1.0, 3.0, 2.0])), [2.5, 0, 2.5, 1])


def made_signals(late: np.ndarray) -> Signals:
    """Every cell stops after the hand-over but ``late``, which move to the end."""
    rng = np.random.default_rng(0)
    signals = Signals(SIGMAS[:-1], 2)
    for step in range(1, 5):
        still = 0.1 + 0.01 * rng.random(late.shape)
        signals.drift[step] = np.where(late | (step < 3), 5.0, still).astype(np.float16)
    for step in range(5):
        energy = 1 + 0.1 * rng.random(late.shape)
        signals.energy[step] = signals.fine[step] = energy.astype(np.float16)
    return signals


def test_what_moves_to_the_end_settles_late():
    late = np.zeros(SHAPE[2:], bool)
    late[1, 2:4, 1:3] = True
    levels, known = settle_levels(made_signals(late), ~halves())
    assert known
    assert levels[late].max() <= 0.3
    assert np.median(levels[~late]) >= 0.6
    decisions, _ = judge(made_signals(late), {MASK: late, PLATE: ~halves()})
    assert decisions.signal == "drift"
    assert decisions.regions[0].late == 1
    assert any("still moves" in said for said in decisions.sentences)


def test_without_a_plate_nothing_is_claimed():
    everything = np.ones(SHAPE[2:], bool)
    decisions, maps = judge(made_signals(~everything), {MASK: everything, PLATE: ~everything})
    assert decisions.regions[0].undecided is None
    assert "cannot say" in decisions.sentences[0]
    assert np.isnan(maps.undecided).all()


def test_state_before_the_handover_is_not_probed():
    watched = DecisionWatch(source(), 0, SIGMAS, 0.9, 0, True)

    def fail(x, level, step):
        raise AssertionError("probed")

    watched.after(lambda state: None, fail)(State(torch.zeros(SHAPE), torch.zeros(SHAPE), 2))
    assert watched.signals.probe is None


@pytest.mark.parametrize(("mode", "signal"), [("free", "drift"), ("probe", "probe")])
def test_a_run_reports_its_decisions_and_its_pixels_stay_the_same(tmp_path, mode, signal):
    plate, mask = noise_plate(9, 64, 96), moving_square(9, 64, 96)
    for name in ("off", mode):
        settings = {
            "insight__decisions": name,
            "model__path": str(VARIANTS["experts"]),
            "sampling__steps": 6,
            "sampling__guidance": 3.0,
            "sampling__shift": 3.0,
            "region__mode": "whole",
        }
        make_job(tmp_path / name, plate, mask, **settings)
        generate(tmp_path / name, Watch(tmp_path / name))
    off, on = (tmp_path / name / "result" for name in ("off", mode))
    assert "decisions" not in json.loads((off / "report.json").read_text())
    found = json.loads((on / "report.json").read_text())["decisions"]
    assert found["signal"] == signal
    regions = {region["name"]: region for region in found["regions"]}
    assert regions["plate"]["undecided"] <= 0.06
    assert regions["mask"]["switch"] > 0
    assert found["curve"].count(None) >= 2  # the first step, and the switch
    maps = sorted((on / jobs.DECISIONS).glob("*.png"))
    assert [read_png(path).shape for path in maps] == [(8, 12, 4)] * 3
    for index in range(9):
        name = jobs.frame_name(index)
        assert (off / jobs.PATCH / name).read_bytes() == (on / jobs.PATCH / name).read_bytes()


def test_short_campaign_foretells_the_spread(tmp_path):
    """`python -m benchmarks.decisions` is the long form, and lists what is missed."""
    rows = [row for row in foretelling([102], tmp_path) if "all cells" in row.what]
    assert len(rows) == 6
    assert all(row.met for row in rows)
