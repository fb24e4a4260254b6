# SPDX-License-Identifier: GPL-3.0-or-later
"""Last stage: the decoder learns to read what the transformer writes.

A transformer this small draws outlines that wobble. Where it starts from a picture that is half
noise, it draws the same things in the same places again; what it makes of them, and the picture
itself, teach the decoder to draw them clean.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanVACETransformer3DModel
from safetensors.torch import load_file, save_file

from .examples import LARGE, LARGE_IMAGE, Size, read_name, redraw
from .latents import Codec, latent_scale
from .sample import STEPS, Sampler
from .transformer import shifted
from .vae import crop_loss, picture_loss, train_decoder

NOISE = (0.3, 0.7)  # sigma to start from: more, and things move
SIZES = (LARGE_IMAGE, LARGE)
SIDE = 96  # pixels of a crop
_PIXELS = 56_000  # of a batch, or one clip


def make_drafts(
    folder: Path, minutes: float, sizes: tuple[Size, ...] = SIZES, seed: int = 8
) -> None:
    """Add what "vace" draws for the examples of ``sizes`` to the drafts there are."""
    codec = Codec.load(folder)
    sampler = Sampler(codec, WanVACETransformer3DModel.from_pretrained(folder / "vace").float())
    place = folder / "drafts"
    place.mkdir(exist_ok=True)
    paths = [_files(folder / "examples" / "vace", size) for size in sizes]
    end = time.monotonic() + 60 * minutes
    for path in itertools.chain.from_iterable(zip(*paths, strict=False)):
        draft = place / path.name
        if draft.exists():
            continue
        if time.monotonic() > end:
            break
        chunk = {key: value.float() for key, value in load_file(path).items()}
        pixels = np.stack([example.target for example in redraw(path)])
        rng = np.random.default_rng((seed, read_name(path)[1]))
        latents = _draw_again(sampler, chunk, float(rng.uniform(*NOISE)), rng)
        partial = draft.with_suffix(".partial")
        save_file(
            {
                "latents": latents.half(),
                "pixels": torch.from_numpy((pixels * 255).round().astype(np.uint8)),
            },
            partial,
        )
        partial.replace(draft)


def _files(folder: Path, size: Size) -> list[Path]:
    return sorted(path for path in folder.glob("*.safetensors") if read_name(path)[0] == size)


@torch.no_grad()
def _draw_again(
    sampler: Sampler, chunk: dict[str, torch.Tensor], start: float, rng: np.random.Generator
) -> torch.Tensor:
    """The clean latents noised to sigma ``start`` and denoised; kept cells stay as they are."""
    clean, condition = chunk["target"], chunk["condition"]
    noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32))
    text = torch.cat([chunk["text"], sampler.no_text.expand(len(clean), -1, -1)])
    sigmas = [s for s in shifted(torch.linspace(1, 0, STEPS + 1)).tolist() if s < start]
    x = (1 - start) * clean + start * noise
    for sigma, target in pairwise([start, *sigmas]):
        x = x + (target - sigma) * sampler.velocity(x, sigma, text, condition)
    masked = condition[:, 32:].amax(dim=1, keepdim=True) > 0
    return torch.where(masked, x, clean)


class DraftPool:
    """Drafts of one size in memory."""

    def __init__(self, folder: Path, size: Size, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.chunks = [load_file(path) for path in _files(folder / "drafts", size)]
        self.side = min(SIDE, *size[1:])
        self.count = max(1, _PIXELS // (size[0] * self.side**2))

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Square crops: latents (B, 16, t, h, w), pixels (B, 3, T, H, W) in -1..1."""
        latents, pixels = [], []
        cells = self.side // 8
        for _ in range(self.count):
            chunk = self.chunks[self.rng.integers(len(self.chunks))]
            row = int(self.rng.integers(len(chunk["latents"])))
            y, x = (
                int(self.rng.integers(length - cells + 1)) for length in chunk["latents"].shape[-2:]
            )
            latents.append(chunk["latents"][row, :, :, y : y + cells, x : x + cells])
            rows, columns = (slice(8 * at, 8 * (at + cells)) for at in (y, x))
            pixels.append(chunk["pixels"][row][:, rows, columns].permute(3, 0, 1, 2))
        return torch.stack(latents).float(), torch.stack(pixels).float() / 127.5 - 1.0


def draft_loss(
    folder: Path, sizes: tuple[Size, ...], clips: int, seed: int
) -> Callable[[AutoencoderKLWan, float], torch.Tensor]:
    """In turn: drafts of each size, and crops of the world, which keep the decoder true to latents
    that are clean."""
    clean = crop_loss(clips, seed)
    turns = itertools.cycle([DraftPool(folder, size, seed) for size in sizes] + [None])

    def loss(vae: AutoencoderKLWan, progress: float) -> torch.Tensor:
        pool = next(turns)
        if pool is None:
            return clean(vae, 1.0)
        latents, pixels = pool.batch()
        mean, std = latent_scale(vae)
        decoded = vae.decode((latents * std + mean).to(vae.device)).sample
        return picture_loss(decoded, pixels.to(vae.device))

    return loss


def train_on_drafts(
    folder: Path,
    minutes: float,
    sizes: tuple[Size, ...] = SIZES,
    clips: int = 200,
    helpers: int = 1,
) -> None:
    """Train the decoder of ``vae/`` on drafts."""
    train_decoder(
        "drafts",
        folder,
        minutes,
        1e-3,
        draft_loss,
        folder,
        sizes,
        clips,
        seed=9,
        helpers=helpers,
    )
