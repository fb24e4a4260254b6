# SPDX-License-Identifier: GPL-3.0-or-later
"""Stages: who takes which step, and that nothing is lost where they hand over."""

from __future__ import annotations

import io
import itertools

import pytest
import torch
from diffusers import WanTransformer3DModel
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.models.layouts import (
    component,
    describe,
    official_transformer_name,
    renamed,
    save,
    write_gguf,
)
from tests.engine.untrained import write_untrained
from wan_blender.core.errors import InvalidJob, WrongModel
from wan_blender.core.settings import LoraUse, Model, Sampling, Stage
from wan_blender.engine.models import stage_models as stages_module
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.models.stage_models import StageModels
from wan_blender.engine.sample.loop import MaskedSource, denoise, make_noise
from wan_blender.engine.sample.release import make_law
from wan_blender.schedule.noise import make_sigmas
from wan_blender.schedule.presets import PRESETS, preset
from wan_blender.schedule.stages import plan_stages


def counts(plan):
    return [span.stop - span.start for span in plan.spans]


@pytest.mark.parametrize(
    ("steps", "shift", "boundary", "expected"),
    [
        # high and low steps of the released code and of the practice
        (40, 12, 0.875, [26, 14]),
        (40, 5, 0.9, [15, 25]),
        (20, 8, 0.875, [11, 9]),
        (20, 5, 0.9, [8, 12]),
        (8, 5, 0.9, [3, 5]),
        (4, 5, 0.9, [2, 2]),
    ],
)
def test_experts_share_the_steps_as_wan_does(steps, shift, boundary, expected):
    sampling = Sampling(steps=steps, shift=shift)
    plan = plan_stages(sampling, [], boundary)
    sigmas = make_sigmas("shifted", steps, shift).tolist()
    assert plan.sigmas == sigmas
    assert counts(plan) == expected
    assert [s >= boundary for s in sigmas[:-1]] == [True] * expected[0] + [False] * expected[1]


def test_one_model_takes_all_steps():
    plan = plan_stages(Sampling(steps=7), [], None)
    assert counts(plan) == [7]
    assert plan.spans[0].guidance == 5.0


def test_a_run_that_starts_below_the_boundary_needs_the_low_expert_only():
    plan = plan_stages(Sampling(steps=10, strength=0.3), [], 0.875)
    assert counts(plan) == [10]
    assert plan.spans[0].stage.expert == "low"


def test_stages_by_steps_follow_the_schedule():
    stages = [Stage(steps=3), Stage(steps=2, guidance=1.0, solver="dpmpp_2m"), Stage()]
    plan = plan_stages(Sampling(steps=9), stages, None)
    assert plan.sigmas == make_sigmas("shifted", 9, 5.0).tolist()
    assert counts(plan) == [3, 2, 4]
    assert [(s.guidance, s.solver) for s in plan.spans] == [
        (5.0, "euler"), (1.0, "dpmpp_2m"), (5.0, "euler")]  # fmt: skip


@pytest.mark.parametrize("schedule", ["shifted", "simple", "beta"])
@pytest.mark.parametrize("end", [-1.0, 0.0])
def test_stages_that_only_count_steps_keep_the_schedule(schedule, end):
    sampling = Sampling(steps=20, schedule=schedule)
    stages = [Stage(steps=8), Stage(steps=12, end=end)]
    assert plan_stages(sampling, stages, None).sigmas == plan_stages(sampling, [], None).sigmas


@pytest.mark.parametrize(
    "sigmas", [[1.0], [0.0], [1.0, 0.5], [1.5, 0.5, 0.0], [0.5, 1.0, 0.0], [1.0, 0.5, 0.5, 0.0],
               [1.0, -0.5, 0.0]]
)  # fmt: skip
def test_noise_levels_that_do_not_fall_to_zero_are_refused(sigmas):
    with pytest.raises(InvalidJob, match=r"sampling\.sigmas is .* fall from at most 1 to 0"):
        plan_stages(Sampling(sigmas=sigmas), [], None)
    given = [0.9, 0.5, 0.0]
    assert plan_stages(Sampling(sigmas=given), [], None).sigmas == given


def test_stages_with_steps_of_their_own_meet_exactly_at_their_ends():
    stages = [Stage(steps=5, end=0.9375), Stage(steps=2, end=0.875), Stage(steps=3)]
    plan = plan_stages(Sampling(steps=20, shift=5.0), stages, None)
    assert counts(plan) == [5, 2, 3]
    assert (plan.sigmas[5], plan.sigmas[7], plan.sigmas[10]) == (0.9375, 0.875, 0.0)


def test_stage_without_steps_and_end_is_refused():
    with pytest.raises(InvalidJob, match=r"stages\[0\]"):
        plan_stages(Sampling(), [Stage(name="a"), Stage()], None)


@settings(max_examples=200, deadline=None)
@given(
    steps=st.integers(1, 60),
    shift=st.floats(0.5, 20),
    strength=st.floats(0.05, 1),
    ends=st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1)), max_size=4),
)
def test_every_plan_falls_to_zero_and_covers_every_step_once(steps, shift, strength, ends):
    stages = [Stage(steps=n, end=e) for n, e in sorted(ends, key=lambda x: -x[1])] + [Stage()]
    plan = plan_stages(Sampling(steps=steps, shift=shift, strength=strength), stages, None)
    assert plan.sigmas[-1] == 0
    assert all(a > b for a, b in zip(plan.sigmas, plan.sigmas[1:], strict=False))
    edges = [(span.start, span.stop) for span in plan.spans]
    assert edges[0][0] == 0
    assert edges[-1][1] == len(plan.sigmas) - 1
    assert all(a[1] == b[0] for a, b in itertools.pairwise(edges))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_settings_that_make_a_plan(name):
    changes = preset(name, 0.9, ("high.safetensors", "low.safetensors"))
    sampling = Sampling()
    for key, value in changes.items():
        if key.startswith("sampling."):
            setattr(sampling, key.removeprefix("sampling."), value)
    plan = plan_stages(sampling, changes["stages"], 0.9)
    assert plan.sigmas[-1] == 0
    if name == "three_fast":
        assert [s.stage.name for s in plan.spans] == ["exploration", "decision", "refinement"]
        assert plan.spans[0].guidance == 3.5
        assert plan.spans[0].stage.loras == []
        assert plan.spans[2].stage.loras == [LoraUse("low.safetensors")]
    with pytest.raises(InvalidJob, match="nonsense"):
        preset("nonsense", 0.9)


def test_preset_without_the_lora_it_takes_is_refused():
    with pytest.raises(InvalidJob, match="needs a step-distill LoRA"):
        preset("distilled", 0.9, ("high.safetensors", ""))


def run_source(seed=0):
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(1, 16, 3, 8, 8, generator=random)
    mask = torch.zeros(1, 1, 3, 8, 8)
    mask[..., 2:6, 2:6] = 1
    return MaskedSource(z, make_noise(tuple(z.shape), 5), mask)


def sample(models, plan, source, shift=5.0):
    """The denoise loop over the stages, one model at a time."""
    law = make_law("release", source.mask, plan.sigmas, shift, 0.25)
    state, context = None, torch.zeros(1, 64, 32)
    for span in plan.spans:
        model = models.use(span)

        def predict(x, sigma, step, model=model):
            return model(
                hidden_states=x, timestep=torch.tensor([sigma * 1000.0]),
                encoder_hidden_states=context,
            ).sample  # fmt: skip

        with torch.no_grad():
            state = denoise(
                predict, source, plan.sigmas, law, span.solver, 0, state=state, stop=span.stop
            )
    return state.x


def test_splitting_one_model_into_stages_changes_nothing(folders):
    bundle, source = open_model(folders["t2v"], "cpu"), run_source()
    whole = plan_stages(Sampling(steps=6), [], None)
    parts = plan_stages(Sampling(steps=6), [Stage(steps=2), Stage(steps=1), Stage()], None)
    once = sample(StageModels(bundle, Model(), [], whole), whole, source)
    split = sample(StageModels(bundle, Model(), [], parts), parts, source)
    assert torch.equal(once, split)
    assert torch.equal(torch.where(source.mask == 0, once - source.z, 0), torch.zeros_like(once))


def test_only_the_stage_at_work_is_loaded(folders):
    said = []
    bundle = open_model(folders["pair"], "cpu", watch=lambda part, *_: said.append(part))
    plan = plan_stages(Sampling(steps=4), [], bundle.traits.boundary)
    models = StageModels(bundle, Model(), [], plan)
    assert said == []
    models.use(plan.spans[0])
    assert [p.loaded for p in (bundle.parts["transformer"], bundle.parts["transformer_2"])] == [
        True, False]  # fmt: skip
    models.use(plan.spans[1])
    assert [p.loaded for p in (bundle.parts["transformer"], bundle.parts["transformer_2"])] == [
        False, True]  # fmt: skip
    assert list(dict.fromkeys(said)) == ["transformer", "transformer_2"]


def test_unload_lets_go_of_other_folders_too(folders):
    bundle = open_model(folders["t2v"], "cpu")
    plan = plan_stages(Sampling(steps=4), [Stage(steps=2, dtype="bfloat16"), Stage()], None)
    models = StageModels(bundle, Model(str(folders["t2v"]), "cpu"), [], plan)
    models.use(plan.spans[0])
    models.unload()
    assert not any(part.loaded for part in models._parts)


def write_lora(path, seed):
    torch.manual_seed(seed)
    return save(path, {
        "diffusion_model.blocks.0.self_attn.q.lora_A.weight": torch.randn(4, 64),
        "diffusion_model.blocks.0.self_attn.q.lora_B.weight": torch.randn(64, 4),
    })  # fmt: skip


def test_loras_go_to_their_stage_and_expert(folders, tmp_path):
    file = str(write_lora(tmp_path / "l.safetensors", 1))
    bundle = open_model(folders["pair"], "cpu")
    stages = [
        Stage(expert="high", end=0.875, loras=[LoraUse(file, 0.5)]),
        Stage(expert="low", loras=[LoraUse(file, 0.25, "high")]),
    ]
    plan = plan_stages(Sampling(steps=4), stages, 0.875)
    models = StageModels(bundle, Model(), [LoraUse(file, 1.0, "low")], plan)
    assert [use.weight for use in models.loras(plan.spans[0])] == [0.5]
    assert [use.weight for use in models.loras(plan.spans[1])] == [1.0]
    assert models.skipped == {}
    source = run_source()
    with_loras = sample(models, plan, source)
    plain = sample(StageModels(bundle, Model(), [], plan), plan, source)
    assert not torch.equal(with_loras, plain)


def test_three_stages_with_three_quantisations_hand_over_exactly(tmp_path):
    folder = write_untrained(tmp_path / "base", "t2v")
    torch.manual_seed(2)
    wide = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=128, text_dim=32, freq_dim=64, ffn_dim=256,
        num_layers=2,
    )  # fmt: skip
    wide.save_pretrained(tmp_path / "base" / "transformer")
    official = renamed(component(folder / "transformer"), official_transformer_name)
    shared = {k: str(folder / k) for k in ("vae", "text_encoder", "tokenizer")}
    made = {}
    for quant in ("Q2_K", "Q5_K"):
        write_gguf(tmp_path / f"{quant}.gguf", official, quant)
        parts = {"transformer": str(tmp_path / f"{quant}.gguf"), **shared}
        made[quant] = str(describe(tmp_path / quant, parts))
    stages = [
        Stage("exploration", model=made["Q2_K"], steps=2, end=0.95, guidance=3.5),
        Stage("decision", model=made["Q5_K"], steps=2, end=0.875, guidance=1.0),
        Stage("refinement", steps=3, dtype="bfloat16", guidance=1.0),
    ]
    plan = plan_stages(Sampling(steps=7), stages, None)
    bundle, source = open_model(folder, "cpu"), run_source()
    models = StageModels(bundle, Model(path=str(folder), device="cpu"), [], plan)
    seen = []

    def watched(span):
        model = models.use(span)
        dtype = model.proj_out.bias.dtype

        def predict(x, sigma, step):
            seen.append((span.stage.name, sigma, x.clone()))
            return model(
                hidden_states=x.to(dtype), timestep=torch.tensor([sigma * 1000.0]),
                encoder_hidden_states=torch.zeros(1, 64, 32, dtype=dtype),
            ).sample.float()  # fmt: skip

        return predict

    law = make_law("release", source.mask, plan.sigmas, 5.0, 0.25)
    state = None
    with torch.no_grad():
        for span in plan.spans:
            entered = None if state is None else state.x.clone()
            state = denoise(
                watched(span), source, plan.sigmas, law, "euler", 0, state=state, stop=span.stop
            )
            first = next(s for s in seen if s[0] == span.stage.name)
            assert first[1] == plan.sigmas[span.start]
            if entered is not None:
                inside = source.mask.expand_as(entered) == 1
                assert torch.equal(first[2][inside], entered[inside])
    assert [name for name, _, _ in seen] == ["exploration"] * 2 + ["decision"] * 2 + [
        "refinement"] * 3  # fmt: skip
    kept = source.mask.expand_as(source.z) == 0
    assert torch.equal(state.x[kept], source.z[kept])
    assert torch.isfinite(state.x).all()


@pytest.mark.parametrize(
    ("run", "stage", "words"),
    [
        ("t2v", "i2v", "in_channels is 36, in the run's model it is 16"),
        ("t2v", "vace", "_class_name is WanVACETransformer3DModel"),
        ("vace", "t2v", "_class_name is WanTransformer3DModel"),
    ],
)
def test_models_of_two_kinds_in_one_run_are_refused(folders, run, stage, words):
    bundle = open_model(folders[run], "cpu")
    stages = [Stage(steps=2, model=str(folders[stage])), Stage()]
    plan = plan_stages(Sampling(steps=4), stages, None)
    with pytest.raises(WrongModel, match=words):
        StageModels(bundle, Model(device="cpu"), [], plan)


def test_single_models_take_the_loras_of_their_stages_expert(folders):
    bundle = open_model(folders["t2v"], "cpu")
    loras = [LoraUse("h", expert="high"), LoraUse("l", expert="low"), LoraUse("b")]
    stages = [Stage(expert="high", steps=1), Stage(expert="low", steps=1), Stage()]
    plan = plan_stages(Sampling(steps=4), stages, None)
    models = StageModels(bundle, Model(), loras, plan)
    taken = ["".join(use.file for use in models.loras(span)) for span in plan.spans]
    assert taken == ["hb", "lb", "hlb"]


def test_reading_ahead_goes_to_the_end_of_every_file(monkeypatch):
    sizes, read = {"a": 2 * stages_module._CHUNK + 5, "b": 7}, []

    class Counted(io.BytesIO):
        def read(self, size):
            data = super().read(size)
            read.append(len(data))
            return data

    monkeypatch.setattr(
        stages_module, "open", lambda path, *_, **__: Counted(bytes(sizes[path])), raising=False
    )
    stages_module._read_ahead(["a", "b"]).join(10)
    assert sum(read) == sum(sizes.values())


def test_next_stages_files_are_read_ahead(folders):
    bundle = open_model(folders["pair"], "cpu")
    plan = plan_stages(Sampling(steps=4), [], bundle.traits.boundary)
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages_module, "_read_ahead", asked.append)
        models = StageModels(bundle, Model(), [], plan)
        for span in plan.spans:
            models.use(span)
    assert asked == [bundle.parts["transformer_2"].files]
