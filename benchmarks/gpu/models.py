# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of transformers in Wan's sizes: dense and over rows, by backend, compiled, packed,
streamed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline

from benchmarks.shapes import SHIFT, Run, Shape, call_inputs, plan_run, random_model
from wan_blender.engine.models.files.stored import StoredLinear, pack
from wan_blender.engine.models.parts import stream_blocks
from wan_blender.engine.sample.partial.passes import Passes

from .bench import Bench, Skipped, milliseconds

BACKENDS = ("native", "_native_cudnn", "_native_flash", "flash", "_flash_3", "sage")
_CALLS = 4  # that a measurement makes: the first does not count


@dataclass(frozen=True)
class Sizes:
    """What is measured; ``TINY`` in the tests."""

    small: Shape
    large: Shape
    small_720p: Shape
    large_720p: Shape
    shares: tuple[float, ...] = (0.10, 0.25, 0.05, 0.50, 1.0)  # what matters most comes first
    steps: int = 20
    vae_base: int = 96
    vae_latents: int = 4  # that are decoded: each costs the same


def passes(bench: Bench, sizes: Sizes) -> None:
    """Dense, full and partial calls of every size."""
    for shape in (sizes.small, sizes.large, sizes.small_720p, sizes.large_720p):
        with bench.item(f"{shape.name}: calls"):
            _passes_of(bench, shape, sizes.shares)


def _passes_of(bench: Bench, shape: Shape, shares: tuple[float, ...]) -> None:
    call = shape.teraflops() / bench.rate
    bench.need(_CALLS * call)
    bench.need_gb(model_gb(shape, bench.dtype) + call_gb(shape, bench.dtype))
    model = random_model(shape, str(bench.device), bench.dtype)
    given = call_inputs(model, shape)
    dense = _seconds_of(bench, lambda: model(**given, return_dict=False))
    bench.rate = shape.teraflops() / dense
    how = f"{shape.tokens} tokens, {bench.dtype}, one guidance branch"
    bench.add(f"{shape.name}: dense call", milliseconds(dense), f"{how}, {bench.rate:.0f} TFLOP/s")
    for share in shares:
        with bench.item(f"{shape.name}: rows, M/N {share:.2f}"):
            bench.need(dense * (1 + _CALLS * min(1.0, 1.5 * share)))
            bench.need_gb(slab_gb(shape, bench.dtype) + call_gb(shape, bench.dtype))
            _rows_of(bench, shape, share, model, given, dense)


def _rows_of(
    bench: Bench, shape: Shape, share: float, model: Any, given: dict, dense: float
) -> None:
    plan = replace(plan_run(shape, "balanced", share, 40), used="balanced")
    runs = Passes(plan)
    runs.begin()
    with torch.no_grad():
        full = bench.seconds(lambda: runs.call(model, 0)(**given), 1, 0)
    rows = _seconds_of(bench, lambda: runs.call(model, 2)(**given))
    part = plan.rows[2] / plan.tokens
    bench.add(
        f"{shape.name}: rows, M/N {share:.2f}",
        f"{rows / dense:.3f} of dense",
        f"{milliseconds(rows)}, {part:.3f} of the tokens; full pass {full / dense:.3f} of dense",
    )


def runs(bench: Bench, sizes: Sizes) -> None:
    """Whole runs of the small model: what the rules save, against what they predict."""
    shape = sizes.small
    model = random_model(shape, str(bench.device), bench.dtype)
    spent = {}
    for mode, share in (("dense", 0.1), ("balanced", 0.1), ("fast", 0.1), ("fast", 0.25)):
        what = f"{shape.name}: run of {sizes.steps} steps, {mode}, M/N {share:.2f}"
        with bench.item(what):
            bench.need(2 * sizes.steps * shape.teraflops() / bench.rate)
            run = Run(model, shape, mode, share, sizes.steps)
            spent[mode, share] = bench.seconds(run, 1, 0)
            ratio = spent[mode, share] / spent["dense", 0.1]
            said = f"{ratio:.3f} of dense, predicted {run.plan.predicted:.3f}"
            bench.add(what, f"{spent[mode, share]:.2f} s", said)


def pipeline(bench: Bench, sizes: Sizes) -> None:
    """Our dense loop against diffusers' own pipeline."""
    shape, steps = sizes.small, 4
    what = f"{shape.name}: our dense loop / diffusers WanPipeline"
    with bench.item(what):
        bench.need(4 * 2 * steps * shape.teraflops() / bench.rate)
        model = random_model(shape, str(bench.device), bench.dtype)
        vae = AutoencoderKLWan(base_dim=8, z_dim=16).to(bench.device, bench.dtype)
        scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
        theirs = WanPipeline(None, None, vae, scheduler, model)
        theirs.set_progress_bar_config(disable=True)
        ours = Run(model, shape, "dense", 0.1, steps, guidance=5.0)
        t, h, w = shape.latents
        texts = [given["encoder_hidden_states"] for given in ours.given]

        def run() -> None:
            theirs(
                prompt_embeds=texts[0], negative_prompt_embeds=texts[1], height=8 * h, width=8 * w,
                num_frames=4 * (t - 1) + 1, num_inference_steps=steps, guidance_scale=5.0,
                output_type="latent",
            )  # fmt: skip

        mine, other = bench.seconds(ours, 1, 1), bench.seconds(run, 1, 1)
        bench.add(what, f"{mine / other:.3f}", f"{mine:.2f} s and {other:.2f} s, {steps} steps")


def backends(bench: Bench, sizes: Sizes) -> None:
    """Attention by every backend that may be there."""
    shape = sizes.small
    model = random_model(shape, str(bench.device), bench.dtype)
    given = call_inputs(model, shape)
    usual = None
    for name in BACKENDS:
        with bench.item(f"{shape.name}: attention {name}"):
            bench.need(_CALLS * shape.teraflops() / bench.rate)
            model.set_attention_backend(name)
            spent = _seconds_of(bench, lambda: model(**given, return_dict=False))
            usual = usual or spent
            said = f"{spent / usual:.3f} of native"
            bench.add(f"{shape.name}: attention {name}", milliseconds(spent), said)
    model.set_attention_backend("native")  # the last one that was there is every model's own


def compiled(bench: Bench, sizes: Sizes) -> None:
    """The repeated blocks compiled once for every number of rows."""
    shape = sizes.small
    with bench.item(f"{shape.name}: compiled blocks"):
        if not bench.is_cuda:
            raise Skipped("It is measured on a card.")
        bench.need(40 + 3 * _CALLS * shape.teraflops() / bench.rate)
        model = random_model(shape, str(bench.device), bench.dtype)
        given = call_inputs(model, shape)
        plain, plain_rows = _dense_and_rows(bench, model, shape, given)
        model.compile_repeated_blocks(dynamic=True)
        first = bench.seconds(lambda: model(**given, return_dict=False), 1, 0)
        fast, fast_rows = _dense_and_rows(bench, model, shape, given)
        how = f"the first call took {first:.0f} s"
        bench.add(f"{shape.name}: compiled / plain, dense", f"{fast / plain:.3f}", how)
        bench.add(f"{shape.name}: compiled / plain, rows", f"{fast_rows / plain_rows:.3f}", how)


def packed(bench: Bench, sizes: Sizes) -> None:
    """fp8 weights unpacked for each product, and products in fp8 where the card has them."""
    shape = sizes.small
    with bench.item(f"{shape.name}: fp8 weights"):
        bench.need(3 * _CALLS * shape.teraflops() / bench.rate)
        model = random_model(shape, str(bench.device), bench.dtype)
        given = call_inputs(model, shape)
        plain, plain_rows = _dense_and_rows(bench, model, shape, given)
        for block in model.blocks:
            _pack(block, bench.device)
        fp8, fp8_rows = _dense_and_rows(bench, model, shape, given)
        bench.add(f"{shape.name}: fp8 weights / plain, dense", f"{fp8 / plain:.3f}")
        bench.add(f"{shape.name}: fp8 weights / plain, rows", f"{fp8_rows / plain_rows:.3f}")
    with bench.item("fp8 product / bf16 product"):
        _products(bench, sizes.large)


def _pack(block: torch.nn.Module, device: torch.device) -> None:
    for parent in list(block.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear:
                setattr(parent, name, StoredLinear(child, pack(child.weight), device))


def _products(bench: Bench, shape: Shape) -> None:
    if not bench.is_cuda or torch.cuda.get_device_capability() < (8, 9):
        raise Skipped("The device has no products in fp8.")
    rows, out = shape.tokens // 16 * 16, shape.ffn
    x = torch.randn(rows, shape.channels, device=bench.device, dtype=bench.dtype)
    weight = torch.randn(out, shape.channels, device=bench.device, dtype=bench.dtype)
    half = bench.seconds(lambda: x @ weight.T, 10)
    a, b = x.to(torch.float8_e4m3fn), weight.to(torch.float8_e4m3fn)
    one = torch.ones((), device=bench.device)

    def product() -> torch.Tensor:
        return torch._scaled_mm(a, b.T, scale_a=one, scale_b=one, out_dtype=bench.dtype)

    fp8 = bench.seconds(product, 10)
    how = f"{rows} x {shape.channels} x {out}, operands already in fp8"
    bench.add("fp8 product / bf16 product", f"{fp8 / half:.3f}", how)


def streamed(bench: Bench, sizes: Sizes) -> None:
    """Blocks brought over from RAM one after the other, against blocks that stay."""
    shape = replace(sizes.large, layers=min(8, sizes.large.layers))
    with bench.item(f"{shape.name}: streamed blocks"):
        if not bench.is_cuda:
            raise Skipped("Blocks are streamed to a card.")
        bench.need(4 * _CALLS * shape.teraflops() / bench.rate)
        model = random_model(shape, str(bench.device), bench.dtype)
        given = call_inputs(model, shape)
        plain, plain_rows = _dense_and_rows(bench, model, shape, given)
        model.to("cpu")
        stream_blocks(model, bench.device, 0)
        slow, slow_rows = _dense_and_rows(bench, model, shape, given)
        how = f"{shape.layers} of {sizes.large.layers} blocks, none resident"
        bench.add(f"{shape.name}: streamed / resident, dense", f"{slow / plain:.3f}", how)
        bench.add(f"{shape.name}: streamed / resident, rows", f"{slow_rows / plain_rows:.3f}", how)


def _dense_and_rows(
    bench: Bench, model: Any, shape: Shape, given: dict, share: float = 0.1
) -> tuple[float, float]:
    """Seconds of a dense call and of a pass over rows."""
    dense = _seconds_of(bench, lambda: model(**given, return_dict=False))
    runs = Passes(replace(plan_run(shape, "balanced", share, 40), used="balanced"))
    runs.begin()
    with torch.no_grad():
        runs.call(model, 0)(**given)
    return dense, _seconds_of(bench, lambda: runs.call(model, 2)(**given))


def _seconds_of(bench: Bench, call: Callable[[], Any]) -> float:
    with torch.no_grad():
        return bench.seconds(call, _CALLS - 1, 1)


def model_gb(shape: Shape, dtype: torch.dtype) -> float:
    """Weights: attention twice and feed-forward in every layer."""
    each = 8 * shape.channels**2 + 2 * shape.channels * shape.ffn
    return 1.05 * shape.layers * each * dtype.itemsize / 1e9


def call_gb(shape: Shape, dtype: torch.dtype) -> float:
    """Activations of a call, as models/run_sizes.py has them."""
    return shape.tokens * shape.channels * (15 * dtype.itemsize + 12) / 1e9


def slab_gb(shape: Shape, dtype: torch.dtype) -> float:
    """Keys and values of one branch."""
    return 2 * shape.tokens * shape.channels * shape.layers * dtype.itemsize / 1e9
