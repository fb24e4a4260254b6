# SPDX-License-Identifier: GPL-3.0-or-later
"""Our masked loop against diffusers' WanPipeline: same weights, steps, guidance, threads."""

from __future__ import annotations

import statistics
import time

import torch
from diffusers import (
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    WanPipeline,
    WanTransformer3DModel,
)

from wan_blender.engine.conditioning.text import TextOnly, guided_velocity
from wan_blender.engine.sample.loop import MaskedSource, denoise, make_noise
from wan_blender.engine.sample.release import make_law
from wan_blender.schedule.noise import make_sigmas

STEPS, GUIDANCE, SHIFT, PAIRS = 4, 5.0, 5.0, 5
FRAMES, HEIGHT, WIDTH = 17, 128, 160


@torch.no_grad()
def measure() -> list[tuple[str, str, str]]:
    torch.manual_seed(0)
    model = WanTransformer3DModel(
        num_attention_heads=4, attention_head_dim=64, text_dim=64, ffn_dim=1024, num_layers=4
    ).eval()
    vae = AutoencoderKLWan(base_dim=8, z_dim=16).eval()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
    pipe = WanPipeline(None, None, vae, scheduler, model)
    pipe.set_progress_bar_config(disable=True)
    text, other = torch.randn(2, 1, 64, 64)
    shape = (1, 16, 1 + (FRAMES - 1) // 4, HEIGHT // 8, WIDTH // 8)
    z = torch.randn(shape)
    mask = torch.zeros(1, 1, *shape[2:])
    mask[..., 4:12, 6:14] = 1
    sigmas = make_sigmas("shifted", STEPS, SHIFT).tolist()
    law = make_law("release", mask, sigmas, SHIFT)
    condition = TextOnly(None, None)

    def ours() -> None:
        def predict(x, level, step):
            return guided_velocity(
                model, condition, text, other, GUIDANCE, x, level, range(shape[2])
            )

        denoise(predict, MaskedSource(z, make_noise(shape, 0), mask), sigmas, law)

    def theirs() -> None:
        pipe(
            prompt_embeds=text,
            negative_prompt_embeds=other,
            height=HEIGHT,
            width=WIDTH,
            num_frames=FRAMES,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            output_type="latent",
        )

    ratios = [_seconds(ours) / _seconds(theirs) for _ in range(PAIRS + 1)][1:]
    ratio = statistics.median(ratios)
    how = f"{STEPS} steps, guidance {GUIDANCE}, {FRAMES} frames {WIDTH}x{HEIGHT}, {PAIRS} pairs"
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    return [("masked denoise loop / diffusers WanPipeline", f"{ratio:.3f} ({spread})", how)]


def _seconds(run) -> float:
    began = time.process_time()  # processor time: other programs do not count
    run()
    return time.process_time() - began
