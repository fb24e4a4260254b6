# SPDX-License-Identifier: GPL-3.0-or-later
"""Each rule speaks when it should, is silent when it should, and its fix cures it."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wan_blender.core.mask_settings import RegionSettings
from wan_blender.core.settings import Job, LoraUse, Sampling, Shot, Stage
from wan_blender.masks.crop import plan_crop
from wan_blender.model_info.names import is_distilled
from wan_blender.model_info.traits import ModelSizes, Traits
from wan_blender.schedule.advice import RULES, check_schedule
from wan_blender.schedule.stages import plan_stages

T2V = Traits("t2v", 16, 16, 8, 2, False, False, False, 512, None, 832 * 480, 81)
PAIR = replace(T2V, boundary=0.875)
I2V_PAIR = replace(PAIR, kind="i2v", in_channels=36, needs_image=True, boundary=0.9)
VACE = replace(T2V, kind="vace", in_channels=96, has_vace=True)
FIVE_B = replace(T2V, kind="ti2v", in_channels=48, latent_channels=48, cell=16, native_frames=121)
FAST = LoraUse("/loras/wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors")
FAST_HIGH, FAST_LOW = replace(FAST, expert="high"), replace(FAST, expert="low")


def rules(job, traits, width=832, height=480, frames=81, files=None):
    return {f.rule: f for f in check_schedule(job, traits, width, height, frames, files)}


def job(loras=(), stages=(), **sampling):
    return Job(Shot(), sampling=Sampling(**sampling), loras=list(loras), stages=list(stages))


@pytest.mark.parametrize(
    ("values", "traits"),
    [
        ({"steps": 50, "shift": 5.0, "guidance": 5.0}, T2V),
        ({"steps": 40, "shift": 12.0, "guidance": 4.0}, PAIR),
        ({"steps": 40, "shift": 5.0, "guidance": 3.5}, I2V_PAIR),
        ({"steps": 50, "shift": 5.0, "guidance": 5.0}, FIVE_B),
    ],
)
def test_official_settings_raise_nothing(values, traits):
    size = (1280, 704) if traits is FIVE_B else (832, 480)
    assert rules(job(**values), traits, *size) == {}


def test_four_distilled_steps_raise_nothing():
    fast = job([FAST], steps=4, shift=5.0, guidance=1.0)
    assert rules(fast, PAIR) == {}
    assert rules(fast, I2V_PAIR) == {}


@pytest.mark.parametrize(
    ("rule", "case", "traits", "size"),
    [
        ("few-decisions", {"steps": 20, "shift": 0.3, "guidance": 5.0}, PAIR, (832, 480)),
        ("few-decisions", {"steps": 4, "shift": 1.0, "guidance": 1.0}, I2V_PAIR, (832, 480)),
        ("wasted-above", {"steps": 20, "shift": 60.0, "guidance": 5.0}, PAIR, (832, 480)),
        ("wasted-above", {"steps": 5, "shift": 20.0, "guidance": 5.0}, PAIR, (832, 480)),
        ("shift", {"steps": 20, "shift": 1.0}, T2V, (1280, 720)),
        ("shift", {"steps": 20, "shift": 20.0}, T2V, (1280, 720)),
        ("shift", {"steps": 20, "shift": 1.0}, VACE, (832, 480)),
        ("shift", {"steps": 20, "shift": 50.0}, VACE, (832, 480)),
        ("few-steps", {"steps": 6}, T2V, (832, 480)),
        ("shift-steps", {"steps": 4, "shift": 2.0}, T2V, (832, 480)),
    ],
)
def test_rule_speaks_and_its_fix_cures_it(rule, case, traits, size):
    sick = job(**case)
    finding = rules(sick, traits, *size)[rule]
    assert finding.fix
    apply(finding.fix, sick)
    assert rule not in rules(sick, traits, *size)


def apply(fix, job):
    for key, value in fix.items():
        group, _, name = key.rpartition(".")
        setattr(getattr(job, group) if group else job, name, value)


STAGES = st.builds(
    Stage,
    expert=st.sampled_from(["auto", "high", "low"]),
    steps=st.integers(1, 12),
    end=st.sampled_from([-1.0, 0.95, 0.9, 0.875, 0.5]),
    guidance=st.sampled_from([-1.0, 1.0, 4.0]),
    loras=st.sampled_from([[], [FAST], [FAST_LOW]]),
) | st.builds(Stage, expert=st.sampled_from(["auto", "high", "low"]),
              end=st.sampled_from([0.97, 0.9, 0.875, 0.5]))  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(
    sampling=st.builds(
        Sampling,
        steps=st.integers(1, 60),
        shift=st.floats(0.3, 40),
        guidance=st.sampled_from([1.0, 5.0]),
        strength=st.sampled_from([1.0, 1.0, 0.9, 0.5]),
        schedule=st.sampled_from(["shifted", "simple", "beta"]),
        sigmas=st.just([]) | st.lists(st.floats(0.05, 1), min_size=2, max_size=12, unique=True)
        .map(lambda found: [*sorted(found, reverse=True), 0.0]),
    ),
    stages=st.just([]) | st.lists(STAGES, max_size=4),
    loras=st.sampled_from([[], [FAST], [FAST_HIGH], [FAST_LOW], [replace(FAST, weight=0.3)]]),
    traits=st.sampled_from([T2V, VACE, PAIR, I2V_PAIR, replace(PAIR, shift=16.0)]),
    frames=st.sampled_from([81, 200]),
    window=st.sampled_from([0, 161]),
)  # fmt: skip
def test_a_fix_that_is_offered_cures_and_following_all_comes_to_an_end(
    sampling, stages, loras, traits, frames, window
):
    sick = Job(Shot(), sampling=sampling, stages=stages, loras=loras)
    sick.windows.frames = window
    for _ in range(12):
        found = rules(sick, traits, frames=frames)
        for rule, finding in found.items():
            if finding.fix:
                cured = copy.deepcopy(sick)
                apply(finding.fix, cured)
                assert rule not in rules(cured, traits, frames=frames), finding
        fixes = [finding.fix for finding in found.values() if finding.fix]
        if not fixes:
            return
        apply(fixes[0], sick)
    raise AssertionError("each fix calls up another")


def test_fixes_of_a_preset_with_stages_end_in_a_run_without_findings():
    traits = replace(PAIR, shift=3.0)
    stages = [Stage(expert="high", end=0.875), Stage(expert="low")]
    sick = job(stages=stages, steps=12, shift=60.0)
    for _ in range(4):
        found = rules(sick, traits)
        if not found:
            break
        first = next(iter(found.values()))
        assert first.fix, first
        apply(first.fix, sick)
    assert rules(sick, traits) == {}
    assert sick.stages == stages


def test_step_counts_for_who_takes_it_not_for_where_it_begins():
    """The second step begins at the boundary, and it is the low-noise expert's."""
    stages = [Stage(expert="high", steps=1, end=0.875), Stage(expert="low", steps=3)]
    finding = rules(job(stages=stages, steps=4, shift=5.0), PAIR)["few-decisions"]
    assert "Only 1 of 4 steps" in finding.message
    assert [stage.steps for stage in finding.fix["stages"]] == [2, 3]


def test_explicit_noise_levels_are_not_offered_a_shift():
    sick = job(sigmas=[1.0, 0.8, 0.6, 0.4, 0.0])
    assert rules(sick, PAIR)["few-decisions"].fix == {}
    assert rules(sick, PAIR)["few-steps"].fix == {}
    assert "wasted-above" in rules(job(sigmas=[1.0, 0.98, 0.96, 0.94, 0.92, 0.0]), PAIR)


def test_distilled_lora_with_guidance_is_told_and_cured():
    sick = job([FAST], steps=20, shift=5.0, guidance=5.0)
    found = rules(sick, PAIR)
    assert {"distilled-guidance", "distilled-steps"} <= set(found)
    sick.sampling.guidance = found["distilled-guidance"].fix["sampling.guidance"]
    sick.sampling.steps = found["distilled-steps"].fix["sampling.steps"]
    assert rules(sick, PAIR) == {}


def test_guidance_of_the_last_stage_itself_is_cured_there():
    stages = [Stage(end=0.875), Stage(guidance=4.0, loras=[FAST])]
    sick = job(stages=stages, steps=8, guidance=1.0)
    sick.stages = rules(sick, PAIR)["distilled-guidance"].fix["stages"]
    assert "distilled-guidance" not in rules(sick, PAIR)


def test_guidance_in_the_exploration_of_three_stages_is_no_fault():
    stages = [
        Stage("exploration", steps=3, end=0.95, guidance=3.5),
        Stage("decision", steps=2, end=0.875, guidance=1.0, loras=[FAST]),
        Stage("refinement", steps=5, guidance=1.0, loras=[FAST]),
    ]
    assert "distilled-guidance" not in rules(job(stages=stages, steps=8, guidance=5.0), PAIR)


def test_lora_of_one_expert_changes_nothing_about_the_other():
    """At 20 steps the high-noise expert runs distilled, the other one as it was released."""
    sick = job([FAST_HIGH], steps=20, shift=12.0, guidance=4.0)
    found = rules(sick, PAIR)
    assert set(found) == {"distilled-guidance", "distilled-steps"}
    assert "Guidance is 4 for the high-noise expert" in found["distilled-guidance"].message
    assert "13 steps of 20 for the high-noise expert" in found["distilled-steps"].message
    assert "4 to 8 in a whole run, 5 there" in found["distilled-steps"].message
    for rule in list(found):
        apply(rules(sick, PAIR)[rule].fix, sick)
    assert rules(sick, PAIR) == {}
    plan = plan_stages(sick.sampling, sick.stages, 0.875)
    # the low-noise expert had 7, and gets one more from the boundary itself down to the first
    assert [(span.stop - span.start, span.guidance) for span in plan.spans] == [(4, 1.0), (8, 4.0)]


def test_guidance_of_an_earlier_distilled_stage_is_told_and_cured_there():
    stages = [
        Stage(expert="high", end=0.875, guidance=5.0, loras=[FAST]),
        Stage(expert="low", loras=[FAST]),
    ]
    sick = job(stages=stages, steps=4, shift=5.0, guidance=1.0)
    found = rules(sick, PAIR)
    assert set(found) == {"distilled-guidance"}
    assert "Guidance is 5 for the high-noise expert" in found["distilled-guidance"].message
    apply(found["distilled-guidance"].fix, sick)
    assert [stage.guidance for stage in sick.stages] == [1.0, -1.0]
    assert rules(sick, PAIR) == {}


def test_run_s_guidance_is_left_to_the_stages_that_need_it():
    stages = [Stage(expert="high", end=0.875), Stage(expert="low", loras=[FAST])]
    sick = job(stages=stages, steps=20, shift=5.0, guidance=3.5)
    fix = rules(sick, PAIR)["distilled-guidance"].fix
    assert [stage.guidance for stage in fix["stages"]] == [-1.0, 1.0]
    assert "sampling.guidance" not in fix


def test_rough_first_sampler_before_distilled_ones_is_as_practised():
    stages = [
        Stage("explore", expert="high", steps=2, end=0.94, guidance=3.5),
        Stage("decide", expert="high", steps=2, end=0.875, loras=[FAST]),
        Stage("refine", expert="low", steps=3, loras=[FAST]),
    ]
    assert rules(job(stages=stages, steps=6, shift=5.0, guidance=1.0), PAIR) == {}


@pytest.mark.parametrize("weight", [-1.0, 0.0, 0.3])
def test_lora_that_is_off_or_helps_along_is_not_held_to_few_steps(weight):
    sick = job([replace(FAST, weight=weight)], steps=20, shift=12.0, guidance=4.0)
    assert rules(sick, PAIR) == {}
    sick.sampling.steps = 8
    assert ("few-steps" in rules(sick, PAIR)) == (weight <= 0)


def test_expert_that_was_forgotten_at_few_steps_is_told():
    sick = job([FAST_HIGH], steps=4, shift=5.0, guidance=1.0)
    finding = rules(sick, PAIR)["few-steps"]
    assert "2 of 4 steps for the low-noise expert" in finding.message
    apply(finding.fix, sick)
    assert [(stage.steps, stage.guidance) for stage in sick.stages] == [(0, -1.0), (10, 3.5)]
    assert rules(sick, PAIR) == {}
    files = {"transformer_2": ["/m/wan2.2_t2v_low_noise_lightx2v_4step.safetensors"]}
    assert rules(job([FAST_HIGH], steps=4, shift=5.0, guidance=1.0), PAIR, files=files) == {}


@pytest.mark.parametrize(("traits", "guidance"), [(T2V, 5.0), (PAIR, 3.5)])
def test_steps_of_a_forgotten_lora_come_with_the_guidance_it_does_without(traits, guidance):
    fix = rules(job(steps=4, guidance=1.0), traits)["few-steps"].fix
    assert fix == {"sampling.steps": 20, "sampling.guidance": guidance}
    assert rules(job(steps=4, guidance=4.0), traits)["few-steps"].fix == {"sampling.steps": 20}


def test_few_distilled_steps_below_many_others_waste_nothing():
    """A first sampler without LoRA and with guidance, a distilled second: as practised."""
    stages = [
        Stage(expert="high", steps=13, end=0.875, guidance=3.5),
        Stage(expert="low", steps=3, guidance=1.0, loras=[FAST]),
    ]
    assert rules(job(stages=stages, steps=20, shift=8.0), PAIR) == {}
    stages[1].loras = []
    assert "wasted-above" in rules(job(stages=stages, steps=20, shift=8.0), PAIR)


def test_five_b_needs_multiples_of_32():
    finding = rules(job(steps=50), FIVE_B, 1280, 720)["size"]
    assert "1280x736" in finding.message
    assert finding.fix == {"region.pixels": 1280 * 704}
    assert "size" not in rules(job(steps=50), FIVE_B, 1280, 704)
    assert "size" not in rules(job(steps=50), T2V, 1280, 720)


@pytest.mark.parametrize("traits", [T2V, FIVE_B])
@pytest.mark.parametrize("mode", ["auto", "whole"])
@pytest.mark.parametrize("canvas", [(854, 480), (1920, 1080), (500, 300), (1277, 719)])
def test_size_is_told_of_what_the_model_sees_and_cured(traits, mode, canvas):
    asked, sizes = (
        RegionSettings(mode=mode),
        ModelSizes(traits.cell, traits.patch, traits.native_pixels),
    )
    box = (0, 0, *canvas)
    grid = plan_crop(81, canvas, box, asked, sizes).grid
    finding = rules(job(), traits, grid.width, grid.height).get("size")
    multiple = traits.cell * traits.patch
    assert (finding is not None) == bool(grid.width % multiple or grid.height % multiple)
    if finding:
        asked.pixels = finding.fix["region.pixels"]
        grid = plan_crop(81, canvas, box, asked, sizes).grid
        assert "size" not in rules(job(), traits, grid.width, grid.height)


def test_windows_longer_than_the_model_knows_are_told():
    long = job(steps=20)
    assert "length" not in rules(long, T2V, frames=200)
    long.windows.frames = 121
    assert rules(long, T2V, frames=200)["length"].fix == {"windows.frames": 0}
    assert "length" not in rules(long, T2V, frames=81)
    assert "length" not in rules(long, FIVE_B, 1280, 704, frames=200)


def test_shift_that_the_model_recommends_is_believed():
    assert "shift" not in rules(job(steps=20, shift=1.0), replace(T2V, shift=1.0))


@pytest.mark.parametrize(("shift", "size"), [(16.0, 480), (8.0, 480), (3.0, 480), (5.0, 720)])
def test_every_published_shift_of_vace_is_one(shift, size):
    assert "shift" not in rules(job(steps=20, shift=shift), VACE, size * 16 // 9, size)


def test_fix_that_would_bring_a_weightier_finding_back_is_not_offered():
    """Two steps at the folder's shift 3 are too few above the boundary; at 9.5 the shift is odd."""
    model = replace(PAIR, shift=3.0, boundary=0.9)
    few = job(steps=2, shift=3.0, guidance=5.0, schedule="simple")
    fix = rules(few, model)["few-decisions"].fix
    assert fix["sampling.shift"] == 9.5
    few.sampling.shift = 9.5
    again = rules(few, model)["shift"].fix
    few.sampling.shift = again.get("sampling.shift", 9.5)
    assert "few-decisions" not in rules(few, model)


def test_shift_is_said_to_be_whose():
    message = rules(job(steps=20, shift=1.0), VACE)["shift"].message
    assert "16 of the original code, 8 of ComfyUI's template and 3 of diffusers' example" in message
    assert "the 5 of the original code" in rules(job(steps=20, shift=1.0), T2V)["shift"].message
    merged = LoraUse(
        "/loras/Wan2.1_T2V_14B_FusionX_LoRA.safetensors"
    )  # its author's, not lightx2v's
    assert "shift" not in rules(job([merged], steps=8, shift=1.0, guidance=1.0), T2V)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Wan21_CausVid_14B_T2V_lora_rank32.safetensors", True),
        ("lightx2v_T2V_14B_cfg_step_distill_v2.safetensors", True),
        ("Wan2.2-Lightning_I2V-A14B-4steps-lora_HIGH_fp16.safetensors", True),
        ("film_grain_style.safetensors", False),
        ("Wan2.2-T2V-A14B-4steps-lora-rank64-Seko-V1.1/high_noise_model.safetensors", True),
        ("loras/style/high_noise_model.safetensors", False),
        ("4step_loras/film_grain_style.safetensors", False),
        ("Wan2.1_T2V_14B_FusionX_LoRA.safetensors", True),
        ("Wan2_2_5B_FastWanFullAttn_lora_rank_128_bf16.safetensors", True),
        ("TurboWan2.2-I2V-A14B-high-720P.safetensors", True),
        ("wan2.1_t2v_1.3b_dmd2.safetensors", True),
        ("admdesign.safetensors", False),
        ("arcmotion_lora.safetensors", False),
        ("turbovision_style.safetensors", False),
        ("DetailEnhancerV1_4stepper.safetensors", False),
        ("wan22EnhancedPrompt_nolightningHigh.safetensors", False),
        ("WanNoLightning.safetensors", False),
        ("Wan14BT2VFusioniX_fp16_.safetensors", True),
        ("Wan22_A14B_T2V_LOW_Lightning_4steps_lora_250928_rank64_fp16.safetensors", True),
        ("Wan22_TI2V_5B_Turbo_lora_rank_64_fp16.safetensors", True),
        ("wan22Lightning_i2vHigh.safetensors", True),
        ("models--Somebody--Wan2.2-Lightning/lora.safetensors", True),
        ("force_lightning_wan21_14b.safetensors", False),
        ("WAN-2.2-T2V_Thor_Lightning_Bolt.safetensors", False),
        ("porsche_911_turbo_wan22_i2v_A14B_high_noise_rank32.safetensors", False),
        ("8step_dance_choreo.safetensors", False),
        ("4-step-morph_wan22_14b_high_noise.safetensors", False),
        ("wan_undistilled_fp16.safetensors", False),
        ("wan2.2_non-distilled_fp16.safetensors", False),
    ],
)
def test_what_is_distilled_is_known_by_name(name, expected):
    assert is_distilled(name) is expected


def test_folder_in_the_cache_tells_for_its_files():
    folder = "models--Wan--Wan2.1-T2V-14B-StepDistill-CfgDistill-Diffusers/snapshots/" + "ab" * 20
    file = f"{folder}/transformer/diffusion_pytorch_model-00001-of-00006.safetensors"
    assert is_distilled(file)
    assert not is_distilled(file.replace("StepDistill-CfgDistill-", ""))


@pytest.mark.parametrize("stages", [[], [Stage(model="/m/Wan2.1-T2V-14B-lightx2v-4step")]])
def test_distilled_model_needs_no_lora_for_few_steps(stages):
    name = "Wan2.1-T2V-14B-lightx2v-4step" if stages else "wan2.1_t2v_14b_FusionX_fp8"
    files = {} if stages else {"transformer": [f"/m/{name}.safetensors"]}
    fast = job(stages=stages, steps=4, shift=5.0, guidance=1.0)
    assert "few-steps" in rules(fast, T2V) or stages
    assert rules(fast, T2V, files=files) == {}
    fast.sampling.guidance, fast.sampling.steps = 5.0, 20
    found = rules(fast, T2V, files=files)
    assert set(found) == {"distilled-guidance", "distilled-steps"}
    assert (
        f"Guidance is 5 with {name}, step-distilled by name" in found["distilled-guidance"].message
    )


def test_shift_of_a_pair_and_of_many_steps_is_judged_otherwise():
    assert "shift-steps" not in rules(job(steps=4, shift=2.0), PAIR)
    assert "shift-steps" not in rules(job(steps=20, shift=2.0), T2V)
    assert rules(job(sigmas=[1.0, 0.8, 0.5, 0.0]), T2V)["shift-steps"].fix == {}


def test_every_rule_is_explained_in_the_docs():
    root = Path(__file__).parents[3]
    text = (root / "docs/schedule_rules.md").read_text()
    assert re.findall(r"^\| `([a-z-]+)` \|", text, re.M) == [rule.name for rule in RULES]
