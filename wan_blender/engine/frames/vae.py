# SPDX-License-Identifier: GPL-3.0-or-later
"""Pixels <-> latents, one causal chunk at a time, so that memory does not grow with the clip.

Equal to AutoencoderKLWan.encode / decode: the same modules with the same caches, in a loop that
hands out chunks instead of collecting them. Latents are normalised, (z - mean) / std, as the
transformer expects them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanCausalConv3d,
    patchify,
    unpatchify,
)

from ..finite import require_finite
from .kept import ahead

Tensor = torch.Tensor
CellBox = tuple[int, int, int, int]  # y0, y1, x0, x1


def _moments(vae: AutoencoderKLWan) -> tuple[Tensor, Tensor]:
    weight = next(vae.parameters())
    shape = (1, -1, 1, 1, 1)
    mean = torch.tensor(vae.config.latents_mean, dtype=torch.float32, device=weight.device)
    std = torch.tensor(vae.config.latents_std, dtype=torch.float32, device=weight.device)
    return mean.view(shape), std.view(shape)


@torch.no_grad()
def encode(
    vae: AutoencoderKLWan,
    frame: Callable[[int], np.ndarray],
    frames: int,
    on_chunk: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Normalised latents (1, c, t, h, w), float32, of ``frames`` = 4n+1 frames.

    ``frame(i)`` gives frame i as (H, W, 3) in [-1, 1], sizes a multiple of the cell.
    ``on_chunk`` hears how many latents are done and may raise to stop.
    """
    weight = next(vae.parameters())
    mean, std = _moments(vae)
    vae.clear_cache()
    try:
        chunks = []
        read = (np.stack([frame(i) for i in range(*span)], 1) for span in _chunks(frames))
        for pixels in ahead(read):  # (H, T, W, 3)
            x = torch.from_numpy(pixels).permute(3, 1, 0, 2)[None].to(weight.device, weight.dtype)
            if vae.config.patch_size is not None:
                x = patchify(x, patch_size=vae.config.patch_size)
            vae._enc_conv_idx = [0]
            chunks.append(vae.encoder(x, feat_cache=vae._enc_feat_map, feat_idx=vae._enc_conv_idx))
            on_chunk(len(chunks))
        z = vae.quant_conv(torch.cat(chunks, 2)).chunk(2, 1)[0].float()
        require_finite(z, "The VAE, encoding", vae)
    finally:
        vae.clear_cache()
    return (z - mean) / std


# latent cells: as far as the decoder's upward path looks (12.25), and the side of a tile
HALO, TILE = 13, 16


@torch.no_grad()
def decode(
    vae: AutoencoderKLWan,
    latents: Tensor,
    box: CellBox | None = None,
    tile: int = 0,
    count: int | None = None,
) -> Iterator[np.ndarray]:
    """Frames (n, H, W, 3) in [-1, 1], float32: 1 for the first latent, then 4 for each; of the
    first ``count`` latents, which depend on none that come after them.

    ``box`` (y0, y1, x0, x1 in latent cells) decodes only that part; the rest is 0. ``tile`` > 0
    does it in tiles of that many cells, which lowers the peak. Both are exact: the middle block,
    whose attention sees the whole frame, runs on the whole frame, and everything after it looks
    no further than HALO cells.
    """
    weight = next(vae.parameters())
    mean, std = _moments(vae)
    z = (latents.to(weight.device, torch.float32) * std + mean).to(weight.dtype)
    z = z[:, :, :count]
    t, h, w = z.shape[2:]
    box = box or (0, h, 0, w)
    parts = [_Part(vae, part, (h, w)) for part in _tiles(box, tile)]
    head: list[Tensor | None] = [None] * _count_convs(vae.decoder)
    z = vae.post_quant_conv(z)
    for i in range(t):
        position = [0]
        x = _with_cache(vae.decoder.conv_in, z[:, :, i : i + 1], head, position)
        x = vae.decoder.mid_block(x, feat_cache=head, feat_idx=position)
        frames = None
        for part in parts:
            pixels = part.decode(x, position[0], first=i == 0)
            if frames is None:
                shape = (1, 3, pixels.shape[2], h * part.scale, w * part.scale)
                frames = torch.zeros(shape, dtype=torch.float32)
            part.paste(pixels, frames)
        require_finite(frames, f"The VAE, decoding latent {i + 1} of {t},", vae)
        yield frames[0].clamp(-1, 1).permute(1, 2, 3, 0).numpy()


class _Part:
    """One tile of the frame on its way up, with caches of its own."""

    def __init__(self, vae: AutoencoderKLWan, box: CellBox, size: tuple[int, int]) -> None:
        y0, y1, x0, x1 = self.box = box
        self.seen = (max(y0 - HALO, 0), min(y1 + HALO, size[0]),
                     max(x0 - HALO, 0), min(x1 + HALO, size[1]))  # fmt: skip
        self.vae = vae
        self.scale = vae.config.scale_factor_spatial
        self.cache: list[Tensor | None] = [None] * _count_convs(vae.decoder)

    def decode(self, x: Tensor, position: int, first: bool) -> Tensor:
        """Features after the middle block -> pixels (1, 3, n, H, W) of what the tile sees."""
        decoder, index = self.vae.decoder, [position]
        y0, y1, x0, x1 = self.seen
        x = x[..., y0:y1, x0:x1]
        for block in decoder.up_blocks:
            x = block(x, feat_cache=self.cache, feat_idx=index, first_chunk=first)
        x = decoder.nonlinearity(decoder.norm_out(x))
        x = _with_cache(decoder.conv_out, x, self.cache, index)
        patch = self.vae.config.patch_size
        return x if patch is None else unpatchify(x, patch_size=patch)

    def paste(self, pixels: Tensor, frames: Tensor) -> None:
        """Put the tile without its halo where it belongs."""
        y0, y1, x0, x1 = (edge * self.scale for edge in self.box)
        top, left = self.seen[0] * self.scale, self.seen[2] * self.scale
        frames[..., y0:y1, x0:x1] = pixels[..., y0 - top : y1 - top, x0 - left : x1 - left]


def _tiles(box: CellBox, tile: int) -> list[CellBox]:
    y0, y1, x0, x1 = box
    if tile <= 0:
        return [box]
    return [
        (y, min(y + tile, y1), x, min(x + tile, x1))
        for y in range(y0, y1, tile)
        for x in range(x0, x1, tile)
    ]


def _count_convs(module: torch.nn.Module) -> int:
    return sum(isinstance(m, WanCausalConv3d) for m in module.modules())


def _with_cache(conv: Any, x: Tensor, cache: list, position: list[int]) -> Tensor:
    """A causal convolution that is given the last two frames of the chunk before."""
    index = position[0]
    kept = x[:, :, -2:].clone()
    if kept.shape[2] < 2 and cache[index] is not None:
        kept = torch.cat([cache[index][:, :, -1:], kept], 2)
    x = conv(x, cache[index])
    cache[index] = kept
    position[0] += 1
    return x


def _chunks(frames: int) -> Iterator[tuple[int, int]]:
    yield 0, 1
    for start in range(1, frames, 4):
        yield start, start + 4
