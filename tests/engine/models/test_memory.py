# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan takes the gentlest measures that fit, and its prediction is near what is measured."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from dataclasses import replace

import gguf
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import WanTransformer3DModel

from tests.engine.models.layouts import open_part, velocity
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.models.files.assemble import can_hold
from wan_blender.engine.models.files.tensor_files import TensorInfo
from wan_blender.engine.models.memory import (
    Machine,
    Sizes,
    measure_machine,
    plan_memory,
    predict_phases,
    refuse,
    step_down,
)
from wan_blender.engine.models.run_sizes import measure_run, weights_gb

# Wan 14B at 832x480, 81 frames, bf16: 32760 tokens
WAN_14B = Sizes(28.6, 40, 11.4, 0.5, 6.0, 5.1, 7.6, 2.2, 15.7, quantised_work=0.24)


def card(gb: float, ram: float = 64.0) -> Machine:
    return Machine("cuda", gb, ram)


def test_a_large_card_takes_no_measures():
    plan = plan_memory(card(80), WAN_14B)
    assert (plan.rung, plan.fits, plan.batch_guidance) == (0, True, True)
    assert plan.predicted_gb == pytest.approx(28.6 + 2 * 6.0)


@pytest.mark.parametrize("gb", [8, 12, 16, 24, 32, 48])
def test_every_card_gets_a_plan_that_fits_or_says_so(gb):
    plan = plan_memory(card(gb), WAN_14B)
    assert plan.fits == (plan.predicted_gb <= gb - 0.6)
    assert plan.fits, plan


def test_smaller_cards_take_more_measures():
    plans = [plan_memory(card(gb), WAN_14B) for gb in (8, 12, 16, 24, 32, 48, 80)]
    rungs = [plan.rung for plan in plans]
    assert rungs == sorted(rungs, reverse=True)
    assert rungs[-1] == 0
    assert not plan_memory(card(24), WAN_14B).batch_guidance
    assert plan_memory(card(24), WAN_14B).quantise


def test_each_step_down_lowers_the_peak_until_none_is_left():
    machine, plan = card(1), plan_memory(card(999), WAN_14B)
    peaks = [plan.predicted_gb]
    while (lower := step_down(plan, WAN_14B, machine)) is not None:
        assert lower.rung == plan.rung + 1
        plan = lower
        peaks.append(plan.predicted_gb)
    assert peaks == sorted(peaks, reverse=True)
    assert len(set(peaks)) == len(peaks)
    assert plan.resident_blocks == 0
    assert "GB are free" in refuse(plan_memory(machine, WAN_14B)).message


@pytest.fixture(scope="module")
def shapes_14b():
    """Wan 14B's transformer without memory."""
    with init_empty_weights():
        return WanTransformer3DModel().state_dict()


@pytest.mark.parametrize("word", ["BF16", "F8_E4M3", "Q8_0", "Q5_K", "Q4_K"])
def test_14b_at_480p_and_81_frames_is_planned_into_8_gb(folders, shapes_14b, word):
    """From shapes alone, whatever its file holds its matrices in; UMT5 runs from RAM."""
    bundle = open_model(folders["t2v"], "cpu", "bfloat16")
    part = bundle.parts["transformer"]
    part.config = {**part.config, "num_attention_heads": 40, "attention_head_dim": 128,
                   "num_layers": 40}  # fmt: skip
    part.weights.infos = {
        name: TensorInfo(word if t.ndim == 2 and "blocks" in name else "BF16", tuple(t.shape), "x")
        for name, t in shapes_14b.items()
    }
    part._matrices = frozenset(n for n, t in shapes_14b.items() if t.ndim == 2)
    bundle.parts["vae"].config = {**bundle.parts["vae"].config, "base_dim": 96}
    sizes = replace(measure_run(bundle, 21 * 30 * 52, 480, 832), text_encoder=11.4, base=0.1)
    each = {"BF16": 2, "F8_E4M3": 1, "Q8_0": 1.06, "Q5_K": 0.69, "Q4_K": 0.56}[word]
    assert sizes.transformer == pytest.approx(14.3 * each, rel=0.05)
    plan = plan_memory(card(8), sizes)
    assert plan.fits, plan.words
    assert "text encoder on the processor" in plan.measures
    assert plan.resident_blocks >= 0
    assert not plan_memory(card(6), sizes).fits


def test_blocks_are_not_moved_out_to_memory_that_is_not_there():
    poor = plan_memory(card(8, ram=8), WAN_14B)
    assert poor.resident_blocks == -1
    assert not poor.fits


def test_apple_gpus_are_not_offered_float8():
    assert not plan_memory(Machine("mps", 20, 20), WAN_14B).quantise
    assert plan_memory(Machine("cpu", 24, 24), WAN_14B).quantise


def test_packed_weights_count_as_they_lie(folders, tmp_path, wide):
    from tests.engine.models.layouts import fp8_scaled, official_transformer_name, renamed, save

    official = renamed(wide.state_dict(), official_transformer_name)
    full = open_part("transformer", save(tmp_path / "a" / "m.safetensors", official))
    fp8 = open_part("transformer", save(tmp_path / "b" / "m.safetensors", fp8_scaled(official)))
    held = {
        part: sum(t.numel() * t.element_size() for t in part.model.state_dict().values()) / 1e9
        for part in (full, fp8)
    }
    assert weights_gb(full, 4) == pytest.approx(held[full], rel=0.02)
    assert weights_gb(fp8, 4) == pytest.approx(held[fp8], rel=0.02)
    assert held[fp8] < 0.6 * held[full]


@pytest.mark.parametrize("form", ["fp8", "Q8_0"])
def test_packed_text_encoder_counts_as_it_lies(folders, tmp_path, form):
    """Its embedding is no matrix product: it is unpacked while it is loaded."""
    from tests.engine.models.layouts import component, renamed, save, text_name

    state = component(folders["t2v"] / "text_encoder")
    if form == "fp8":
        path = tmp_path / "umt5.safetensors"
        packed = {n: t.to(torch.float8_e4m3fn) if t.ndim == 2 else t for n, t in state.items()}
        save(path, packed)
    else:
        path = tmp_path / "umt5.gguf"
        writer = gguf.GGUFWriter(path, "t5encoder")
        for name, tensor in renamed(state, lambda n: text_name(n, True)).items():
            if tensor.ndim == 2 and "attn_rel_b" not in name:
                data = gguf.quantize(tensor.numpy(), gguf.GGMLQuantizationType.Q8_0)
                writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            else:
                writer.add_tensor(name, tensor.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    part = open_part("text_encoder", path, torch.bfloat16)
    tensors = [*part.model.parameters(), *part.model.buffers()]  # tied ones once
    held = sum(t.numel() * t.element_size() for t in tensors) / 1e9
    assert part.model.shared.weight.dtype == torch.bfloat16
    assert weights_gb(part, 2) == pytest.approx(held, rel=0.02)


@pytest.mark.parametrize("form", ["fp8", "Q4_K", "full"])
def test_product_with_a_packed_matrix_counts_in_its_phase(folders, tmp_path, wide, form):
    from tests.engine.models.layouts import (
        describe,
        fp8_scaled,
        official_transformer_name,
        renamed,
        save,
        write_gguf,
    )

    official = renamed(wide.state_dict(), official_transformer_name)
    if form == "Q4_K":
        write_gguf(tmp_path / "wan.gguf", official, form)
    else:
        save(tmp_path / "wan.safetensors", fp8_scaled(official) if form == "fp8" else official)
    others = {part: str(folders["t2v"] / part) for part in ("vae", "text_encoder", "tokenizer")}
    file = "wan.gguf" if form == "Q4_K" else "wan.safetensors"
    bundle = open_model(describe(tmp_path / "m", {"transformer": f"../{file}", **others}), "cpu")
    sizes = measure_run(bundle, 100, 64, 64)
    largest = max(t.numel() for n, t in wide.named_parameters() if "blocks" in n and t.ndim == 2)
    unpacked = largest * (4 + 24) / 1e9
    assert sizes.work == pytest.approx(0 if form == "full" else unpacked)
    assert sizes.quantised_work == pytest.approx(unpacked)
    plan = plan_memory(card(80), sizes)
    with_it, without = (
        predict_phases(plan, replace(sizes, work=work))["denoising"] for work in (sizes.work, 0.0)
    )
    assert with_it - without == pytest.approx(sizes.work)


def test_apple_gpus_hold_no_float8_as_it_lies():
    assert can_hold(torch.device("mps"), False)
    assert not can_hold(torch.device("mps"), True)
    assert can_hold(torch.device("cuda"), True)


def test_run_is_measured_from_the_model(folders):
    bundle = open_model(folders["pair"], "cpu")
    small = measure_run(bundle, 1000, 480, 832)
    large = measure_run(bundle, 2000, 480, 832)
    assert large.call == pytest.approx(2 * small.call)
    assert large.transformer == small.transformer > 0
    assert small.tiled_decode < small.decode
    machine = measure_machine(torch.device("cpu"))
    assert 0 < machine.device_gb == machine.ram_gb
    plan = plan_memory(machine, small)
    assert plan.fits
    assert f"{plan.predicted_gb:.1f} of" in plan.words
    assert "tiled decode" in replace(plan, tiled_decode=True).words


def test_text_encoder_that_does_not_fit_runs_on_the_processor():
    """1.3B in bf16 on 8 GB: the transformer fits whole, its text encoder does not."""
    small = Sizes(2.8, 30, 11.4, 0.5, 1.5, 3.0, 3.0, 1.0, 1.6)
    plan = plan_memory(card(8), small)
    assert (plan.fits, plan.text_on_cpu, plan.resident_blocks) == (True, True, -1)
    assert plan.measures == ["text encoder on the processor"]
    assert not plan_memory(card(8, ram=8), small).fits


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("text", ["text encoder on the processor"]),
        ("encoding", ["VAE on the processor"]),
        ("decoding", ["tiled decode", "VAE on the processor"]),
        ("denoising", ["guidance in two calls", "fp8 weights", "20 blocks resident"]),
    ],
)
def test_step_down_after_a_phase_ran_out_of_memory_is_one_for_that_phase(phase, expected):
    plan, found = plan_memory(card(80), WAN_14B), []
    while (lower := step_down(plan, WAN_14B, card(80), phase)) is not None:
        found += [words for words in lower.measures if words not in plan.measures]
        plan = lower
    assert found[: len(expected)] == expected
    if phase != "denoising":
        assert found == expected
    assert step_down(plan_memory(Machine("cpu", 80, 80), WAN_14B), WAN_14B, Machine("cpu", 80, 80),
                     "text") is None  # fmt: skip


def test_parts_on_the_processor_give_what_they_give_on_the_device(folders):
    bundle = open_model(folders["t2v"], "cpu")
    expected = bundle.encode_text(["a red ball"])
    plan = plan_memory(measure_machine(torch.device("cpu")), measure_run(bundle, 100, 64, 64))
    bundle.fit(replace(plan, text_on_cpu=True, vae_on_cpu=True))
    assert not bundle.parts["text_encoder"].loaded
    for part in bundle.parts.values():
        part.device = torch.device("meta")
    model = bundle.parts["text_encoder"].model
    assert {t.device.type for t in model.parameters()} == {"cpu"}
    assert next(bundle.vae.parameters()).device.type == "cpu"
    assert bundle.encode_text(["a red ball"]).shape == expected.shape


def test_matrices_are_quantised_one_by_one_as_they_are_read(folders):
    """The device holds one matrix as it was at a time, never the whole model."""
    part = open_model(folders["t2v"], "cpu").parts["transformer"]
    real, alive = part.weights.read, weakref.WeakSet()

    def read(name):
        wide = [t for t in alive if t.ndim == 2]
        assert len(wide) <= 1, f"{len(wide)} matrices are held when {name} is read"
        tensor = real(name)
        if "blocks." in name and name.endswith("weight"):
            alive.add(tensor)
        return tensor

    part.weights.read = read
    part.fit(quantise=True)
    assert part.model.blocks[1].ffn.net[2].weight.element_size() == 1


def test_vace_is_counted_with_what_it_sets_aside_for_its_layers(folders):
    t2v, vace = (open_model(folders[kind], "cpu", "bfloat16") for kind in ("t2v", "vace"))
    layers = len(vace.parts["transformer"].config["vace_layers"])
    calls = [measure_run(bundle, 1000, 64, 64).call for bundle in (t2v, vace)]
    assert layers > 0
    assert calls[1] - calls[0] == pytest.approx(layers * 1000 * 64 * 2 / 1e9)


def test_latents_of_the_shot_count_in_every_phase(folders):
    bundle = open_model(folders["t2v"], "cpu")
    short, long = (measure_run(bundle, 100, 64, 64, latents_gb=gb) for gb in (0.0, 1.5))
    plan = plan_memory(measure_machine(torch.device("cpu")), short)
    more = predict_phases(plan, long)
    for phase, gb in predict_phases(plan, short).items():
        assert more[phase] == pytest.approx(gb + 1.5)


def test_quantised_matrices_are_small_and_close(folders, wide, tmp_path):
    wide.save_pretrained(tmp_path)
    part = open_part("transformer", tmp_path)
    part.fit(quantise=True)
    packed = part.model
    assert packed.blocks[0].ffn.net[2].weight.element_size() == 1
    expected = velocity(wide)
    error = (velocity(packed) - expected).abs().mean() / expected.abs().mean()
    assert 0 < error < 0.06


def test_a_plan_is_applied_when_a_part_is_loaded(folders):
    plain = velocity(open_model(folders["pair"], "cpu").transformer(0.9))
    bundle = open_model(folders["pair"], "cpu")
    plan = plan_memory(measure_machine(torch.device("cpu")), measure_run(bundle, 100, 64, 64))
    bundle.fit(replace(plan, quantise=True, resident_blocks=1))
    model = bundle.transformer(0.9)
    assert model.blocks[0].attn1.to_q.weight.element_size() == 1
    error = (velocity(model) - plain).abs().mean() / plain.abs().mean()
    assert 0 < error < 0.1
    bundle.fit(plan)
    assert not bundle.parts["transformer"].loaded
    # not to the bit: products round by where in memory the mapped file lies
    torch.testing.assert_close(velocity(bundle.transformer(0.9)), plain, rtol=1e-4, atol=1e-5)


MEASURE = """
import gc, json, re, psutil, torch
from diffusers import WanTransformer3DModel
torch.set_num_threads(1)
d, f, tokens = 512, 1408, 5120
model = WanTransformer3DModel(num_attention_heads=8, attention_head_dim=64, text_dim=64,
    freq_dim=64, ffn_dim=f, num_layers=1).eval().requires_grad_(False)
def call(h, w, t):
    with torch.no_grad():
        model(hidden_states=torch.randn(1, 16, t, 2 * h, 2 * w), timestep=torch.tensor([500.0]),
              encoder_hidden_states=torch.randn(1, 512, 64))
call(4, 4, 1)
gc.collect()
before = psutil.Process().memory_info().rss
call(32, 32, 5)
# of this program alone: ru_maxrss would count the parent's memory from before exec
peak = int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) * 1024
predicted = tokens * d * (12 * 4 + 12) / 1e9
print(json.dumps({"measured": (peak - before) / 1e9, "predicted": predicted}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_predicted_activations_are_near_the_measured_peak():
    out = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    ).stdout
    told = json.loads(out.splitlines()[-1])
    assert 0.6 < told["predicted"] / told["measured"] < 1.7, told


def test_both_branches_in_one_call_only_where_there_is_guidance_and_a_gpu():
    assert plan_memory(card(80), WAN_14B, guidance=True).batch_guidance
    alone = plan_memory(card(80), WAN_14B, guidance=False)
    assert (alone.batch_guidance, alone.measures) == (False, [])
    slow = plan_memory(Machine("cpu", 80, 80), WAN_14B, guidance=True)
    assert (slow.batch_guidance, slow.measures) == (False, [])
    assert plan_memory(card(40), WAN_14B).measures[0] == "guidance in two calls"
