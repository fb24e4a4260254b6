# SPDX-License-Identifier: GPL-3.0-or-later
"""VACE (arXiv 2503.07598): 96 context channels = 16 inactive + 16 reactive latents + 64 mask.

The picture is split at mask > 0.5 into what stays (inactive) and what is remade (reactive), gray
where the other is; both are encoded. The mask itself is not thresholded: its 8x8 pixels per cell
become 64 channels, resampled nearest-exact in time, as the released weights were run. That sampling
misses a flash on another frame of the group, and what flashed is drawn again from the frames beside
it; so by default every frame of a group has the largest mask of them all, as in the sampler.

Each reference picture is one latent before the clip: its encoding, zeros, mask 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ...core.errors import InvalidJob
from ...masks.grid import frames_of_group, group_of_frame
from ..models.bundle import Bundle
from .encoded import encode
from .scene import Scene
from .text import TextOnly

SPLIT = 0.5
Tensor = torch.Tensor


class Vace(TextOnly):
    def __init__(self, bundle: Bundle, scene: Scene) -> None:
        t = scene.region.grid.latent_shape[0]
        of_frame, of_latent = _masks(scene, t)

        def part(wanted: bool) -> Tensor:
            def frame(index: int) -> np.ndarray:
                keep = (of_frame(index) > SPLIT) == wanted
                return scene.picture(index) * keep[..., None]

            what = "reactive" if wanted else "inactive"
            return encode(bundle, scene, what, frame, scene.frames)

        references = [
            _reference(bundle, scene, number, picture)
            for number, picture in enumerate(scene.references())
        ]
        self.prefix = len(references)
        inactive = part(False)
        n, _, *size = inactive.shape[1:]
        context = inactive.new_zeros(1, 2 * n + 64, self.prefix + t, *size)
        for index, reference in enumerate(references):
            context[:, :, index] = reference[:, :, 0]
        self.prefix_latents = context[:, :n, : self.prefix]
        clip = context[:, :, self.prefix :]
        clip[:, :n] = inactive
        clip[:, n : 2 * n] = part(True)
        for index in range(t):  # the masks of a long shot are as large as all its latents
            mask = torch.from_numpy(of_latent(index))[None]
            clip[0, 2 * n :, index] = mask_channels(mask)[:, 0]
        self.context = context
        self.strengths = strengths(scene, t, self.prefix).to(context)
        self.layers = len(bundle.parts["transformer"].config["vace_layers"])

    def inputs(self, x: Tensor, level: float | Tensor, latents: Sequence[int]) -> dict[str, Any]:
        tokens = (x.shape[3] // 2) * (x.shape[4] // 2)
        scale = self.strengths[list(latents)].repeat_interleave(tokens).view(1, 1, -1, 1)
        return {
            **super().inputs(x, level, latents),
            "control_hidden_states": self.context[:, :, list(latents)],
            # one scale for each layer, here with a factor for every token in it
            "control_hidden_states_scale": scale.expand(self.layers, 1, -1, 1),
        }


Masks = Callable[[int], np.ndarray]


def _masks(scene: Scene, t: int) -> tuple[Masks, Masks]:
    """The mask of each frame and of each latent, (H, W), as ``model_mask.time`` says."""
    if scene.settings.time == "frames":
        sampled = sampled_frames(scene.frames, t)
        return scene.mask, lambda latent: scene.mask(sampled[latent])

    @lru_cache(maxsize=2)  # frames are asked for in order
    def of_latent(latent: int) -> np.ndarray:
        return np.max([scene.mask(i) for i in frames_of_group(latent, scene.frames)], axis=0)

    return lambda frame: of_latent(group_of_frame(frame)), of_latent


def sampled_frames(frames: int, t: int) -> list[int]:
    """The frame whose mask stands for each latent: floor((i + 1/2) frames / t)."""
    return [(2 * i + 1) * frames // (2 * t) for i in range(t)]


def mask_channels(mask: Tensor, references: int = 0) -> Tensor:
    """(t, H, W) masks of the sampled frames -> (64, references + t, H/8, W/8): channel
    8 row + column of each cell; references have mask 0."""
    t, height, width = mask.shape
    cells = mask.view(t, height // 8, 8, width // 8, 8).permute(2, 4, 0, 1, 3)
    channels = cells.reshape(64, t, height // 8, width // 8)
    return torch.nn.functional.pad(channels, (0, 0, 0, 0, references, 0))


def _reference(bundle: Bundle, scene: Scene, number: int, picture: np.ndarray) -> Tensor:
    z = encode(bundle, scene, f"reference {number}", lambda index: picture, 1)
    return torch.nn.functional.pad(z, (0, 0, 0, 0, 0, 0, 0, z.shape[1] + 64))


def strengths(scene: Scene, t: int, references: int) -> Tensor:
    """One strength for each latent; references take the first, as the clip begins."""
    given = scene.settings.strengths or [scene.settings.strength] * t
    if len(given) != t:
        raise InvalidJob(
            f"model_mask.strengths has {len(given)} numbers; the shot has {t} latent frames.",
            f"Give {t} numbers, or use model_mask.strength.",
        )
    return torch.tensor([given[0]] * references + list(given))
