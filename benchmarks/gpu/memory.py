# SPDX-License-Identifier: GPL-3.0-or-later
"""The VAE, whole and by region, and predicted against measured peaks."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import AutoencoderKLWan

from benchmarks.shapes import Shape, call_inputs, plan_run, random_model
from wan_blender.engine.frames import vae as codec
from wan_blender.engine.models import run_sizes
from wan_blender.engine.models.memory import Machine, plan_memory, predict_phases
from wan_blender.engine.sample.partial.passes import Passes

from .bench import Bench, milliseconds
from .models import Sizes, call_gb, model_gb, slab_gb

_DECODE_TFLOPS = 13.0  # of one latent at 832x480


def vae(bench: Bench, sizes: Sizes) -> None:
    """Decode of whole frames and of the region around a mask of a tenth."""
    _, h, w = sizes.small.latents
    with bench.item("VAE decode"):
        share = h * w / (60 * 104) * (sizes.vae_base / 96) ** 2
        bench.need(6 * sizes.vae_latents * _DECODE_TFLOPS * share / min(bench.rate, 50))
        model = AutoencoderKLWan(base_dim=sizes.vae_base, z_dim=16).to(bench.device).eval()
        z = torch.randn(1, 16, sizes.vae_latents, h, w, device=bench.device)
        side = math.sqrt(0.1)
        box = [round(edge * (1 + sign * side) / 2) for edge in (h, w) for sign in (-1, 1)]

        def decode(part: Any = None) -> None:
            deque(codec.decode(model, z, part), maxlen=0)

        whole, region = bench.seconds(decode, 2, 1), bench.seconds(lambda: decode(tuple(box)), 2, 1)
        how = f"{w * 8}x{h * 8}, {sizes.vae_latents} latents, float32"
        bench.add(
            "VAE decode, whole frame",
            milliseconds(whole / sizes.vae_latents),
            f"{how}; each latent",
        )
        bench.add("VAE decode, region of a 10 % mask / whole", f"{region / whole:.3f}", how)
        predicted = _predicted_gb(bench, "decoding", sizes.small, vae=model)
        _peak(bench, "VAE decode", predicted, decode)


def peaks(bench: Bench, sizes: Sizes) -> None:
    """Calls of every size, with and without what passes over rows keep."""
    for shape in (sizes.small, sizes.large, sizes.small_720p):
        with bench.item(f"{shape.name}: peak"):
            dtype = bench.dtype
            bench.need(6 * shape.teraflops() / bench.rate)
            bench.need_gb(model_gb(shape, dtype) + call_gb(shape, dtype) + slab_gb(shape, dtype))
            _peaks_of(bench, shape)


def _peaks_of(bench: Bench, shape: Shape) -> None:
    model = random_model(shape, str(bench.device), bench.dtype)
    given = call_inputs(model, shape)
    plan = replace(plan_run(shape, "balanced", 0.1, 40), used="balanced")
    runs = Passes(plan)

    @torch.no_grad()
    def dense() -> None:
        model(**given, return_dict=False)

    @torch.no_grad()
    def partial() -> None:
        runs.begin()
        for step in (0, 2):
            runs.call(model, step)(**given)

    ways = (("dense", 0, dense), ("over rows", shape.tokens, partial))
    for what, kept, run in ways:
        predicted = _predicted_gb(bench, "denoising", shape, model, kept=kept)
        _peak(bench, f"{shape.name}, {what}", predicted, run)


def _predicted_gb(
    bench: Bench, phase: str, shape: Shape, model: Any = None, vae: Any = None, kept: int = 0
) -> float:
    """What a run's memory plan says of a phase of ``shape``'s clip, with keys and values of
    ``kept`` tokens."""
    _, h, w = shape.latents
    parts = {"transformer": _part(model, {"num_attention_heads": 1, "attention_head_dim": 1,
                                          "num_layers": 1}),
             "vae": _part(vae, {"base_dim": 1}), "text_encoder": _part(None, {})}  # fmt: skip
    bundle = SimpleNamespace(
        parts=parts, dtype=bench.dtype, device=bench.device, traits=SimpleNamespace(cell=8)
    )
    sizes = run_sizes.measure_run(bundle, shape.tokens, 8 * h, 8 * w)
    sizes = replace(sizes, slab=run_sizes.slab_gb(bundle, kept))
    plan = plan_memory(Machine("cuda", 1e6, 1e6), sizes, guidance=False)
    return predict_phases(plan, sizes)[phase]


def _part(model: Any, otherwise: dict[str, int]) -> Any:
    """As much of a model's part as measure_run looks at; of no tensors where it is not looked at
    for its size."""
    tensors = {} if model is None else model.state_dict()
    infos = {
        name: SimpleNamespace(shape=tuple(t.shape), dtype="BF16") for name, t in tensors.items()
    }
    return SimpleNamespace(
        config=otherwise if model is None else dict(model.config),
        weights=SimpleNamespace(infos=infos),
        stays_packed=lambda name: False,
    )


def _peak(bench: Bench, what: str, predicted: float, run: Any) -> None:
    if not bench.is_cuda:
        run()
        bench.add(f"peak of {what}, predicted", f"{predicted:.2f} GB", "measured on a card alone")
        return
    measured = bench.peak_gb(run)
    said = f"{predicted:.2f} and {measured:.2f} GB"
    bench.add(f"peak of {what}, predicted / measured", f"{predicted / measured:.2f}", said)
