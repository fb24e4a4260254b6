# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures and captions as the transformers see them: latents, VACE context, I2V channels, text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

from .device import DEVICE
from .text import embed


class Codec:
    """The frozen first two stages: pictures to normalised latents and back, captions to vectors."""

    def __init__(
        self, vae: AutoencoderKLWan, tokenizer: PreTrainedTokenizerFast, encoder: UMT5EncoderModel
    ) -> None:
        self.vae, self.encoder = (model.eval().to(DEVICE) for model in (vae, encoder))
        self.tokenizer = tokenizer
        self.mean, self.std = latent_scale(vae)

    @classmethod
    def load(cls, folder: Path) -> Codec:
        return cls(
            AutoencoderKLWan.from_pretrained(folder / "vae").float(),
            PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer"),
            UMT5EncoderModel.from_pretrained(folder / "text_encoder").float(),
        )

    @torch.no_grad()
    def encode(self, clips: torch.Tensor) -> torch.Tensor:
        """(B, 3, T, H, W) in -1..1 to normalised latents (B, 16, t, h, w)."""
        latents = self.vae.encode(clips.to(DEVICE)).latent_dist.mode().float()
        return (latents.to(clips.device) - self.mean) / self.std

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Normalised latents to (B, 3, T, H, W), clamped to -1..1."""
        decoded = self.vae.decode((latents * self.std + self.mean).to(DEVICE)).sample
        return decoded.float().clamp(-1, 1).to(latents.device)

    def text(self, captions: list[str]) -> torch.Tensor:
        return embed(self.tokenizer, self.encoder, captions)


def latent_scale(vae: AutoencoderKLWan) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the latents, (1, 16, 1, 1, 1) each."""
    mean, std = torch.tensor([vae.config.latents_mean, vae.config.latents_std])
    return mean.view(1, 16, 1, 1, 1), std.view(1, 16, 1, 1, 1)


def as_pixels(clip: np.ndarray) -> torch.Tensor:
    """(T, H, W, 3) in 0..1 to (3, T, H, W) in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(clip)).permute(3, 0, 1, 2).float() * 2 - 1


def vace_mask_channels(mask: torch.Tensor) -> torch.Tensor:
    """(B, T, H, W) to (B, 64, t, h, w): the 8x8 pixels of a cell as channels (8 row + column).

    In time nearest-exact. The layout is that of the published VACE code (Jiang et al. 2025).
    """
    batch, frames, height, width = mask.shape
    cells = mask.reshape(batch, frames, height // 8, 8, width // 8, 8)
    cells = cells.permute(0, 3, 5, 1, 2, 4).reshape(batch, 64, frames, height // 8, width // 8)
    size = ((frames - 1) // 4 + 1, height // 8, width // 8)
    return functional.interpolate(cells, size=size, mode="nearest-exact")


def latent_cells(cover: np.ndarray) -> torch.Tensor:
    """(B, T, H, W) to (B, 1, t, h, w): the most of the pixels and frames that share a cell."""
    clips = torch.from_numpy(cover)[:, None]
    padded = torch.cat([clips[:, :, :1].repeat(1, 1, 3, 1, 1), clips], dim=2)
    return functional.max_pool3d(padded, (4, 8, 8))


def vace_context(codec: Codec, source: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """96 channels: source where mask <= 0.5, source where mask > 0.5, and the mask itself."""
    split = (mask > 0.5).float()[:, None]
    inactive, reactive = codec.encode(torch.cat([source * (1 - split), source * split])).chunk(2)
    return torch.cat([inactive, reactive, vace_mask_channels(mask)], dim=1)


def image_condition(codec: Codec, clips: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """20 channels for the I2V model: 4 of mask (1 = known), 16 of the clip with only known frames.

    `known` is (T,) of 0/1. The first frame's flag fills all four channels of the first latent; each
    later latent has its four frames' flags (as in Wan 2.1 and 2.2).
    """
    batch, _, _, height, width = clips.shape
    latents = codec.encode(clips * known.view(1, 1, -1, 1, 1))
    flags = torch.cat([known[:1].repeat(4), known[1:]]).view(-1, 4).T
    flags = flags.view(1, 4, -1, 1, 1).expand(batch, 4, -1, height // 8, width // 8)
    return torch.cat([flags, latents], dim=1)
