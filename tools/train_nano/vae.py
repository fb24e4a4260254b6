# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage 1: the causal video autoencoder, and the statistics its latents are normalised with."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch.nn.functional import l1_loss, mse_loss

from .stage import LossFactory, Stage
from .world import random_scene, render

KL_WEIGHT = 1e-3  # per latent value
SQUARED_WEIGHT = 4.0  # of the squared error: PSNR counts the few large errors at edges
_LATENT_JITTER = 0.05  # the decoder shall forgive small errors of the transformer


def new_vae() -> AutoencoderKLWan:
    """2.2M parameters, 16 channels, 8x in space, 4x in time, causal.

    The residual form of Wan 2.2's autoencoder, whose averaging shortcuts carry the picture through
    from the first step, with one level less than there, hence 8x and not 16x.
    """
    return AutoencoderKLWan(
        base_dim=24,
        decoder_base_dim=32,
        z_dim=16,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=8,
        scale_factor_temporal=4,
    )


class CropPool:
    """Rendered clips in memory, and random crops of them."""

    def __init__(self, clips: int, seed: int, frames: int = 17) -> None:
        self.rng = np.random.default_rng(seed)
        self.clips = []
        for _ in range(clips):
            side = int(self.rng.choice((64, 96, 128)))
            scene = random_scene(self.rng, frames)
            self.clips.append((render(scene, frames, side, side) * 255).round().astype(np.uint8))

    def batch(self, count: int, frames: int, side: int) -> torch.Tensor:
        """(count, 3, frames, side, side) in -1..1, flipped, turned and played backwards at will."""
        rng, crops = self.rng, []
        for _ in range(count):
            clip = self.clips[rng.integers(len(self.clips))]
            t = rng.integers(clip.shape[0] - frames + 1)
            y, x = (rng.integers(clip.shape[axis] - side + 1) for axis in (1, 2))
            crop = clip[t : t + frames, y : y + side, x : x + side]
            if rng.random() < 0.5:
                crop = crop[::-1]
            if rng.random() < 0.5:
                crop = crop.transpose(0, 2, 1, 3)
            crops.append(crop[:, :, ::-1] if rng.random() < 0.5 else crop)
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 4, 1, 2, 3)
        return pixels.float() / 127.5 - 1.0


def picture_loss(decoded: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """L1 on pixels and on their differences along x, y and t, and a squared term."""
    loss = l1_loss(decoded, pixels)
    for axis in (-1, -2, -3):
        if pixels.shape[axis] > 1:
            loss = loss + 0.25 * l1_loss(decoded.diff(dim=axis), pixels.diff(dim=axis))
    return loss + SQUARED_WEIGHT * mse_loss(decoded, pixels)


def loss_of(vae: AutoencoderKLWan, pixels: torch.Tensor) -> torch.Tensor:
    """The loss of the picture, and a light KL towards N(0, 1)."""
    pixels = pixels.to(vae.device)
    posterior = vae.encode(pixels).latent_dist
    latents = posterior.sample()
    latents = latents + _LATENT_JITTER * torch.randn_like(latents)
    loss = picture_loss(vae.decode(latents).sample, pixels)
    mean, variance, log = posterior.mean.float(), posterior.var.float(), posterior.logvar.float()
    return loss + KL_WEIGHT * 0.5 * (mean.square() + variance - 1.0 - log).mean()


def crop_loss(clips: int, seed: int) -> Callable[[AutoencoderKLWan, float], torch.Tensor]:
    """The loss on random crops, which grow when the budget is a third spent."""
    pool = CropPool(clips, seed)
    early = itertools.cycle(((6, 5, 32), (4, 9, 32), (16, 1, 32)))
    later = itertools.cycle(((4, 5, 64), (3, 9, 48), (2, 17, 48), (12, 1, 64)))

    def loss(vae: AutoencoderKLWan, progress: float) -> torch.Tensor:
        shape = next(early if progress < 0.3 else later)
        return loss_of(vae, pool.batch(*shape))

    return loss


def train_vae(
    folder: Path, minutes: float, seed: int = 1, clips: int = 400, helpers: int = 1
) -> AutoencoderKLWan:
    """Train (or go on training) and return the EMA weights with latent statistics in the config."""
    torch.manual_seed(seed)
    stage = Stage("vae", new_vae(), folder, minutes, rate=2e-3)
    stage.train(crop_loss, clips, seed=seed, helpers=helpers)
    return measured(stage.ema, seed)


def polish_decoder(folder: Path, minutes: float, helpers: int = 1) -> None:
    """Train the decoder of `vae/` further, on the world as it is."""
    train_decoder("decoder", folder, minutes, 1.5e-3, crop_loss, 400, seed=7, helpers=helpers)


def train_decoder(
    name: str,
    folder: Path,
    minutes: float,
    rate: float,
    factory: LossFactory,
    *args: object,
    seed: int,
    helpers: int = 0,
) -> None:
    """Train the decoder of `vae/` alone; latents, and what was trained on them, stay."""
    torch.manual_seed(seed)
    vae = AutoencoderKLWan.from_pretrained(folder / "vae")
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    stage = Stage(name, vae, folder, minutes, rate)
    stage.train(factory, *args, seed=seed, helpers=helpers)
    stage.ema.save_pretrained(folder / "vae")


@torch.no_grad()
def measured(vae: AutoencoderKLWan, seed: int, clips: int = 48) -> AutoencoderKLWan:
    """Store per-channel mean and standard deviation of the posterior mode in the config."""
    pool = CropPool(clips, seed + 1000)
    latents = torch.cat(
        [
            vae.encode(pool.batch(8, 9, 64).to(vae.device)).latent_dist.mode()
            for _ in range(clips // 8)
        ]
    )
    vae.register_to_config(
        latents_mean=[round(float(v), 5) for v in latents.mean(dim=(0, 2, 3, 4))],
        latents_std=[round(float(v), 5) for v in latents.std(dim=(0, 2, 3, 4))],
    )
    return vae
