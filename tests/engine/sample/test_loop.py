# SPDX-License-Identifier: GPL-3.0-or-later
"""The denoise loop against ComfyUI's results, and its invariants for any model."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.tiny import golden, golden_predict
from wan_blender.core import schema
from wan_blender.core.mask_settings import Mask
from wan_blender.core.settings import Sampling, Stage, Windows
from wan_blender.engine.sample.loop import Coherence, MaskedSource, State, denoise, make_noise
from wan_blender.engine.sample.release import make_law
from wan_blender.engine.sample.solvers import SOLVERS, History
from wan_blender.engine.sample.windows import plan_windows, predict_in_windows
from wan_blender.masks import grid as lg
from wan_blender.masks.reduce import to_latent
from wan_blender.schedule.noise import make_sigmas
from wan_blender.schedule.stages import plan_stages


def _choices(cls, name):
    return list(dict(schema.settings(cls))[name]["choices"])


SCHEDULES = _choices(Sampling, "schedule")
LAWS = _choices(Mask, "law")


def _golden_run(solver, mask_name, law, sigmas):
    g = golden("comfy_masked_sampling")
    mask = to_latent(
        g[f"mask_{mask_name}"].numpy().astype(np.float64), lg.Grid(17, 96, 128), "comfy_trilinear"
    )
    mask = torch.from_numpy(mask).float()[None, None]
    source = MaskedSource(g["source_latents"], g["noise"], mask)
    return denoise(golden_predict(), source, sigmas, make_law(law, mask, sigmas, 8.0), solver)


@pytest.mark.parametrize("law", [("static", "plain"), ("comfy", "differential")])
@pytest.mark.parametrize("mask", ["moving", "soft", "frames"])
@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m"])
def test_euler_and_dpmpp_equal_comfyui(solver, mask, law):
    g = golden("comfy_masked_sampling")
    got = _golden_run(solver, mask, law[0], g["sigmas.simple"].tolist()).x
    expected = g[f"result.{solver}.simple.{mask}.{law[1]}"]
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("law", [("static", "plain"), ("comfy", "differential")])
@pytest.mark.parametrize("mask", ["moving", "soft", "frames"])
def test_unipc_equals_comfyui_which_stops_at_sigma_one_thousandth(mask, law):
    """ComfyUI gives uni_pc one step more, drops the last but one sigma, ends at 0.001 and divides
    by 1 - 0.001, which leaves 0.001 noise in the result. It computes that noise level as
    sqrt(1 - 1/(1 + s^2)) in float32, 2.5 % off at s = 0.001: hence the tolerance of 6e-4, a few
    % of the leftover in the wildest generated cell. We end at 0 and leave nothing."""
    sigmas = make_sigmas("simple", 7, 8.0).tolist()
    sigmas = [*sigmas[:-2], 0.001]
    got = _golden_run("unipc", mask, law[0], sigmas).x / (1 - 0.001)
    expected = golden("comfy_masked_sampling")[f"result.uni_pc.simple.{mask}.{law[1]}"]
    torch.testing.assert_close(got, expected, rtol=0, atol=6e-4)


def test_simple_schedule_equals_comfyui():
    expected = golden("comfy_masked_sampling")["sigmas.simple"].double().numpy()
    np.testing.assert_allclose(make_sigmas("simple", 6, 8.0), expected, atol=1e-7)


@pytest.mark.parametrize("kind", ["moving", "frames", "soft"])
def test_comfy_reduction_equals_comfyui_to_the_bit(kind):
    g = golden("comfy_masked_sampling")
    mask = g[f"mask_{kind}"].float().numpy()
    latent = to_latent(mask, lg.Grid(*mask.shape), "comfy_trilinear")
    for channel in g[f"latent_mask_trilinear_{kind}"][0].numpy():
        assert np.array_equal(latent, channel)


@pytest.mark.parametrize("frames", [5, 49, 81, 121, 325])
def test_comfy_reduction_equals_torch_at_every_length(frames):
    mask = np.random.default_rng(frames).random((frames, 48, 80), np.float32)
    grid = lg.Grid(*mask.shape)
    clip = torch.from_numpy(mask)[None, None]
    expected = torch.nn.functional.interpolate(clip, size=grid.latent_shape, mode="trilinear")
    latent = to_latent(mask, grid, "comfy_trilinear")
    np.testing.assert_allclose(latent, expected[0, 0], rtol=0, atol=2e-7)  # some CPUs do not fuse


def _random_model(x, sigma, step):
    """Neither linear nor kind: every cell depends on all others and on sigma."""
    return torch.tanh(3 * x.roll(1, -1) + x.mean()) * 4 - x.roll(1, 2) + sigma


def _windowed(model, frames, overlap, prefix=0, anchor=False):
    plan = plan_windows(5, Windows(frames, overlap, anchor), 81)

    def predict(x, sigma, step):
        return predict_in_windows(
            lambda part, level, *_: model(part, level, step), plan, prefix, x, sigma
        )

    return predict


def _source(mask, seed=0, shape=(1, 4, 5, 6, 8), clean_tokens=0, prefix=0):
    """``prefix`` reference latents stand before the clip, generated like white."""
    generator = torch.Generator().manual_seed(seed)
    shape = (*shape[:2], prefix + shape[2], *shape[3:])
    z = torch.randn(shape, generator=generator)
    references = torch.ones_like(mask[:, :, :1]).repeat(1, 1, prefix, 1, 1)
    mask = torch.cat([references, mask], 2)
    return MaskedSource(z, make_noise(shape, seed + 1), mask, clean_tokens)


def _mask(kind, shape=(1, 1, 5, 6, 8)):
    if kind == "hard":
        mask = torch.zeros(shape)
        mask[..., 1:4, 2:5, 2:6] = 1
        return mask
    if kind == "soft":
        return torch.linspace(0, 1, math.prod(shape)).reshape(shape)
    if kind == "frames":
        mask = torch.zeros(shape)
        mask[:, :, 2:] = 1
        return mask
    return torch.full(shape, float(kind == "all"))


LEVELS = st.lists(st.floats(0.001, 1), min_size=1, max_size=6, unique=True).map(
    lambda levels: [*sorted(levels, reverse=True), 0.0]
)
RUNS = {
    "solver": st.sampled_from([*SOLVERS]),
    "schedule": st.sampled_from(SCHEDULES),
    "law": st.sampled_from(LAWS),
    "kind": st.sampled_from(["hard", "soft", "frames", "all", "none"]),
    "steps": st.integers(1, 12),
    "strength": st.floats(0.05, 1),
    "explicit": st.none() | LEVELS,
    "softness": st.sampled_from([0.0, 0.25, 1.0]),
    "windows": st.sampled_from([(0, 0), (13, 4), (9, 8), (5, 0)]),
    "anchor": st.booleans(),
    "prefix": st.sampled_from([0, 2]),
    "clean_tokens": st.sampled_from([0, 2]),
}


@settings(max_examples=150, deadline=None)
@given(split=st.integers(0, 12), **RUNS)
def test_kept_latents_equal_the_source_and_splits_change_nothing(
    split, solver, schedule, law, kind, steps, strength, explicit, softness, windows, anchor,
    prefix, clean_tokens,
):  # fmt: skip
    predict = _windowed(_random_model, *windows, prefix, anchor)
    source = _source(_mask(kind), clean_tokens=clean_tokens, prefix=prefix)
    sigmas = make_sigmas(schedule, steps, 5.0, strength, explicit).tolist()
    rule = make_law(law, source.mask, sigmas, 5.0, softness)
    whole = denoise(predict, source, sigmas, rule, solver, seed=3)
    _assert_kept(source, whole.x)
    first = denoise(predict, source, sigmas, rule, solver, 3, stop=min(split, len(sigmas) - 1))
    second = denoise(predict, source, sigmas, rule, solver, 3, first)
    torch.testing.assert_close(second.x, whole.x, rtol=1e-5, atol=1e-5)


def _assert_kept(source, x):
    kept = (source.mask == 0).expand_as(source.z)
    assert torch.equal(x[kept], source.z[kept])
    assert torch.isfinite(x).all()


STAGE = st.builds(
    Stage,
    steps=st.integers(1, 3),
    end=st.sampled_from([-1.0, 0.95, 0.9, 0.6, 0.3]),
    solver=st.sampled_from(["same", *SOLVERS]),
)


@settings(max_examples=200, deadline=None)
@given(stages=st.lists(STAGE, min_size=2, max_size=4), **RUNS)
def test_kept_latents_equal_the_source_through_stages_that_share_nothing(
    stages, solver, schedule, law, kind, steps, strength, explicit, softness, windows, anchor,
    prefix, clean_tokens,
):  # fmt: skip
    """Each stage has a model and a solver of its own, and the steps and end that it likes."""
    source = _source(_mask(kind), clean_tokens=clean_tokens, prefix=prefix)
    sampling = Sampling(
        steps=steps, solver=solver, schedule=schedule, strength=strength, sigmas=explicit or []
    )
    plan = plan_stages(sampling, stages, None)
    starts = [span.start for span in plan.spans]
    rule = make_law(law, source.mask, plan.sigmas, sampling.shift, softness, starts)
    state, last = None, ""
    for number, span in enumerate(plan.spans):
        if state and span.solver != last:
            state = replace(state, history=History())
        last = span.solver
        noise = state.noise if state else source.noise
        is_steady = SOLVERS[last].noise_kept(0.9, 0.5) == 0.5  # draws no new noise

        def model(x, level, step, number=number):
            return _random_model(x, level, step) + number

        def predict(x, level, step, model=model, noise=noise, is_steady=is_steady):
            if clean_tokens or is_steady:
                _assert_shown(source, noise, x, level)
            return _windowed(model, *windows, prefix, anchor)(x, level, step)

        state = denoise(predict, source, plan.sigmas, rule, last, 3, state, span.stop)
    assert plan.sigmas[-1] == 0
    _assert_kept(source, state.x)


def _assert_shown(source, noise, x, level):
    """The model sees what is kept at the level that it is told: of a token that is kept whole, 0
    where each token has its own."""
    if source.clean_tokens:
        kept = (level == 0).expand_as(x)
        assert torch.equal(x[kept], source.z[kept])
    else:
        kept = (source.mask == 0).expand_as(x)
        assert torch.equal(x[kept], (level * noise + (1 - level) * source.z)[kept])


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("law", LAWS)
def test_a_model_that_knows_the_source_returns_it(solver, law):
    mask = _mask("soft")
    source = _source(mask)
    sigmas = make_sigmas("shifted", 8, 5.0).tolist()

    def perfect(x, sigma, step):
        return (x - source.z) / sigma

    x = denoise(perfect, source, sigmas, make_law(law, mask, sigmas, 5.0), solver).x
    torch.testing.assert_close(x, source.z, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
def test_whole_mask_equals_plain_sampling(solver):
    """With the mask everywhere 1 the source must not leak in: another source, same result."""
    mask = torch.ones(1, 1, 5, 6, 8)
    sigmas = make_sigmas("shifted", 6, 5.0).tolist()
    law = make_law("release", mask, sigmas, 5.0)
    noise = make_noise((1, 4, 5, 6, 8), 1)
    results = [
        denoise(_random_model, MaskedSource(z, noise, mask), sigmas, law, solver).x
        for z in (torch.zeros_like(noise), torch.full_like(noise, 7.0))
    ]
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("clean_tokens", [0, 2], ids=["one time", "time per token"])
def test_noise_level_shown_to_the_model_is_right_for_soft_masks(solver, law, clean_tokens):
    """A perfect model of unit variance data: what it is shown minus the signal has std sigma."""
    shape = (1, 16, 3, 40, 40)
    z = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    levels = []

    def perfect(x, sigma, step):
        sigma = float(sigma.mean()) if clean_tokens else sigma
        if sigma == 0:
            assert torch.equal(x, z)
            return torch.zeros_like(x)
        levels.append(float((x - (1 - sigma) * z).std()) / sigma)
        return (x - z) / sigma

    for value, strength in ((0.0, 1.0), (0.25, 1.0), (0.5, 0.6), (0.75, 1.0), (1.0, 0.6)):
        mask = torch.full((1, 1, *shape[2:]), value)
        source = MaskedSource(z, make_noise(shape, 6), mask, clean_tokens)
        sigmas = make_sigmas("shifted", 8, 5.0, strength).tolist()
        denoise(perfect, source, sigmas, make_law(law, mask, sigmas, 5.0), solver)
    assert levels
    assert max(abs(level - 1) for level in levels) < 0.01


def test_heun_is_second_order_and_euler_first():
    """Halving the step divides the error by 4 and by 2 on a smooth problem."""

    def smooth(x, sigma, step):
        return math.cos(2 * sigma) - x

    def error(solver, steps):
        mask = torch.ones(1, 1, 1, 2, 2)
        source = MaskedSource(torch.zeros(1, 1, 1, 2, 2), torch.ones(1, 1, 1, 2, 2), mask)
        runs = []
        for n in (steps, 4096):
            # end above 0 so that every step has the solver's own order
            sigmas = np.linspace(1, 0.25, n + 1).tolist()
            law = make_law("static", mask, sigmas, 1.0)
            runs.append(denoise(smooth, source, sigmas, law, solver if n == steps else "heun").x)
        return float((runs[0] - runs[1]).abs().max())

    assert error("euler", 16) / error("euler", 32) == pytest.approx(2, rel=0.1)
    assert error("heun", 16) / error("heun", 32) == pytest.approx(4, rel=0.15)
    for solver in ("dpmpp_2m", "res_multistep", "unipc"):
        assert error(solver, 32) < error("euler", 32) / 4


def test_same_seed_same_result_another_seed_another():
    mask = _mask("hard")
    sigmas = make_sigmas("shifted", 4, 5.0).tolist()
    law = make_law("release", mask, sigmas, 5.0)

    def run(seed):
        source = MaskedSource(torch.zeros(1, 4, 5, 6, 8), make_noise((1, 4, 5, 6, 8), seed), mask)
        return denoise(_random_model, source, sigmas, law, "lcm", seed).x

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_state_can_be_continued_after_each_step():
    mask = _mask("soft")
    source = _source(mask)
    sigmas = make_sigmas("shifted", 6, 5.0).tolist()
    law = make_law("release", mask, sigmas, 5.0)
    states: list[State] = []
    whole = denoise(_random_model, source, sigmas, law, "unipc", on_step=states.append).x
    for state in states[:-1]:
        torch.testing.assert_close(
            denoise(_random_model, source, sigmas, law, "unipc", state=state).x, whole
        )


def _coherent(predict, steps=range(99)):
    return Coherence(predict, steps)


@settings(max_examples=200, deadline=None)
@given(split=st.integers(0, 12), **RUNS)
def test_coherent_noise_leaves_what_is_kept_and_continues_after_a_split(
    split, solver, schedule, law, kind, steps, strength, explicit, softness, windows, anchor,
    prefix, clean_tokens,
):  # fmt: skip
    predict = _windowed(_random_model, *windows, prefix, anchor)
    source = _source(_mask(kind), clean_tokens=clean_tokens, prefix=prefix)
    sigmas = make_sigmas(schedule, steps, 5.0, strength, explicit).tolist()
    rule = make_law(law, source.mask, sigmas, 5.0, softness)
    run = partial(denoise, predict, source, sigmas, rule, solver, 3, coherence=_coherent(predict))
    whole = run()
    _assert_kept(source, whole.x)
    second = run(run(stop=min(split, len(sigmas) - 1)))
    scale = float(whole.x.abs().max()) + 1
    torch.testing.assert_close(second.x / scale, whole.x / scale, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
def test_coherent_noise_changes_nothing_where_all_is_free_or_the_model_knows_the_source(solver):
    sigmas = make_sigmas("shifted", 6, 5.0).tolist()

    def runs(predict, mask):
        source = _source(mask)
        law = make_law("release", mask, sigmas, 5.0)
        model = partial(predict, source)
        return [
            denoise(model, source, sigmas, law, solver, coherence=coherence).x
            for coherence in (None, _coherent(model))
        ]

    plain, coherent = runs(lambda _, *given: _random_model(*given), torch.ones(1, 1, 5, 6, 8))
    assert torch.equal(plain, coherent)
    plain, coherent = runs(lambda source, x, sigma, _: (x - source.z) / sigma, _mask("soft"))
    torch.testing.assert_close(coherent, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("solver", ["euler", "unipc", "lcm"])
def test_what_is_kept_is_shown_under_the_noise_that_the_model_found(solver):
    """A model that finds the noise ``found`` wherever it looks: the next call shows it."""
    source = _source(_mask("hard"))
    found = make_noise(tuple(source.z.shape), 77)
    sigmas, shown = make_sigmas("shifted", 6, 5.0).tolist(), {}

    def model(x, sigma, step):
        shown[step] = (x, sigma)
        return (found - x) / (1 - sigma) if sigma < 1 else torch.zeros_like(x)

    law = make_law("release", source.mask, sigmas, 5.0)
    denoise(model, source, sigmas, law, solver, coherence=_coherent(model, range(3, 5)))
    kept = (source.mask == 0).expand_as(source.z)
    for step, is_found in ((2, False), (3, True), (4, True)):
        x, sigma = shown[step]
        held = sigma * found + (1 - sigma) * source.z
        assert torch.allclose(x[kept], held[kept], atol=1e-5) is is_found


def test_noise_of_soft_cells_moves_with_them():
    """Half-free cells are shown at the noise level that the model is told, with noise that it
    finds half other than the run's."""
    shape = (1, 16, 3, 40, 40)
    mask = torch.full((1, 1, *shape[2:]), 0.5)
    z = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    source = MaskedSource(z, make_noise(shape, 6), mask)
    other = make_noise(shape, 8)
    sigmas, levels = make_sigmas("shifted", 8, 5.0).tolist(), []

    def finds(x, sigma, step):  # of unit variance, correlated with the noise that is there
        noise = 0.8 * (x - (1 - sigma) * z) / sigma + 0.6 * other
        return (noise - x) / (1 - sigma)

    def perfect(x, sigma, step):
        levels.append(float((x - (1 - sigma) * z).std()) / sigma)
        return (x - z) / sigma

    for solver in ("euler", "unipc"):
        law = make_law("static", mask, sigmas, 5.0)
        denoise(perfect, source, sigmas, law, solver, coherence=_coherent(finds, range(2, 3)))
    assert max(abs(level - 1) for level in levels) < 0.06
