# SPDX-License-Identifier: GPL-3.0-or-later
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.folders import make_job, moving_square, noise_plate
from wan_blender.core.settings import Windows
from wan_blender.engine import pipeline
from wan_blender.engine.sample import stage_loop
from wan_blender.engine.sample.windows import plan_windows, predict_in_windows
from wan_blender.engine.watch import Watch


@settings(deadline=None)
@given(
    latents=st.integers(1, 260),
    frames=st.integers(1, 161),
    overlap=st.integers(0, 80),
    anchor=st.booleans(),
    prefix=st.integers(0, 2),
)
def test_windows_cover_every_latent_and_blend_to_one(latents, frames, overlap, anchor, prefix):
    windows = plan_windows(latents, Windows(frames, overlap, anchor), 81)
    assert windows[0].start == 0
    assert windows[-1].stop == latents
    starts = [w.start for w in windows]
    assert starts == sorted(set(starts))
    assert len({w.stop - w.start for w in windows}) == 1
    gaps = [b - a for a, b in pairwise(starts)]
    assert not gaps or max(gaps) - min(gaps) <= 1  # even: no wasted last window
    x = torch.randn(1, 3, prefix + latents, 2, 2)
    got = predict_in_windows(lambda x, level, i, n: 2 * x, windows, prefix, x, 0.5)
    torch.testing.assert_close(got, 2 * x, rtol=1e-5, atol=1e-4)


def test_weights_fade_over_the_true_overlap():
    first, second = plan_windows(8, Windows(21, 12), 81)
    assert (first.start, first.stop, second.start, second.stop) == (0, 6, 2, 8)
    assert first.weights == pytest.approx((1, 1, 0.8, 0.6, 0.4, 0.2))
    assert second.weights == pytest.approx((0.2, 0.4, 0.6, 0.8, 1, 1))


def test_overlap_is_half_a_window_at_most():
    assert [w.start for w in plan_windows(20, Windows(21, 1000), 81)] == [0, 3, 6, 8, 11, 14]


def test_anchor_is_shown_before_the_window_and_thrown_away():
    windows = plan_windows(20, Windows(41, 16), 81)
    shown = []

    def predict(x, level, latents, number):
        shown.append(latents)
        v = torch.ones_like(x)
        if number:
            v[:, :, 1] = 1e6  # what is said about the anchor must not count
        return v

    x = torch.zeros(1, 1, 21, 1, 1)
    got = predict_in_windows(predict, windows, 1, x, 0.5)
    assert (got == 1).all()
    for indices, window in zip(shown, windows):
        lead = [] if window.start == 0 else [window.start]  # + prefix 1, - 1
        assert indices == [0, *lead, *range(1 + window.start, 1 + window.stop)]


def test_levels_of_tokens_are_cut_with_the_window():
    level = torch.arange(12.0).view(1, 1, 12, 1, 1).expand(1, 1, 12, 2, 2)

    def predict(x, part, latents, number):
        assert part[0, 0, :, 0, 0].tolist() == latents
        return x

    x = torch.zeros(1, 1, 12, 2, 2)
    predict_in_windows(predict, plan_windows(12, Windows(21, 8), 81), 0, x, level)


def test_zero_frames_is_what_the_model_was_trained_on():
    for native, latents in ((81, 21), (121, 31), (17, 5)):
        assert plan_windows(250, Windows(), native)[0].stop == latents
        assert len(plan_windows(latents, Windows(), native)) == 1
    assert len(plan_windows(250, Windows(10000), 81)) == 1


def _long_job(folder, **settings):
    """41 frames in 3 windows of 5 latents."""
    return make_job(
        folder, noise_plate(41, 32, 48), moving_square(41, 32, 48, 12),
        windows__frames=17, windows__overlap=8, sampling__steps=2, **settings,
    )  # fmt: skip


@pytest.mark.parametrize(("sections", "wanted"), [(1, [0, 0, 0]), (2, [0, 0, 1]), (3, [0, 1, 2])])
def test_each_window_takes_the_prompt_of_its_section(tmp_path, monkeypatch, sections, wanted):
    texts = [torch.full((1, 1, 1), float(i)) for i in range(sections)]
    shown = []

    def velocity(model, condition, positive, negative, guidance, x, level, latents, *rest):
        shown.append((latents[-1], int(positive)))
        return torch.zeros_like(x)

    monkeypatch.setattr(pipeline, "encode_prompts", lambda bundle, prompt: (texts, texts[0]))
    monkeypatch.setattr(stage_loop, "guided_velocity", velocity)
    _long_job(tmp_path, prompt__sections=["a kite"] * sections)
    pipeline.generate(tmp_path, Watch(tmp_path))
    assert shown == 2 * list(zip([4, 7, 10], wanted, strict=True))


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_progress_rises_with_every_window(tmp_path, solver):
    """Heun sees every window twice in a step."""
    told = []
    _long_job(tmp_path, sampling__solver=solver)
    pipeline.generate(tmp_path, Watch(tmp_path, told.append))
    steps = [(m.step, m.steps) for m in told if m.phase == "denoising"]
    assert list(dict.fromkeys(steps)) == [(i, 6) for i in range(7)]
    assert steps == sorted(steps)
    fractions = [m.fraction for m in told]
    assert fractions == sorted(fractions)
