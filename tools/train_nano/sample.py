# SPDX-License-Identifier: GPL-3.0-or-later
"""A plain Euler loop over a trained transformer, and sheets of what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import WanVACETransformer3DModel

from .device import DEVICE
from .latents import Codec, as_pixels, image_condition, latent_cells, vace_context
from .transformer import shifted

GUIDANCE = 3.0
STEPS = 20


@dataclass(frozen=True)
class Plate:
    """What the sampler keeps, as the engine does: latents (B, 16, t, h, w), and where they may
    change, bool (B, 1, t, h, w). `strength` below 1 starts from the latents under noise."""

    latents: torch.Tensor
    free: torch.Tensor
    strength: float = 1.0

    def pin(self, x: torch.Tensor, noise: torch.Tensor, sigma: float) -> torch.Tensor:
        return torch.where(self.free, x, sigma * noise + (1 - sigma) * self.latents)


class Sampler:
    """Draws clips. One model, or two with the sigma at which the first hands over to the second."""

    def __init__(
        self,
        codec: Codec,
        model: torch.nn.Module,
        low: torch.nn.Module | None = None,
        boundary: float = 0.0,
    ) -> None:
        self.codec, self.model, self.boundary = codec, model.eval().to(DEVICE), boundary
        self.low = None if low is None else low.eval().to(DEVICE)
        self.no_text = codec.text([""])

    @torch.no_grad()
    def draw(
        self,
        captions: list[str],
        condition: torch.Tensor | None,
        size: tuple[int, int, int],
        seed: int,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        jump: tuple[float, float] | None = None,
        plate: Plate | None = None,
    ) -> np.ndarray:
        """Clips (B, T, H, W, 3) in 0..1; `condition` is a VACE context, I2V channels, or None.

        `jump` = (from, to) skips the steps between two sigmas without moving x, as a run does whose
        second stage starts at another sigma than its first one stopped at.
        """
        frames, height, width = size
        shape = (len(captions), 16, (frames - 1) // 4 + 1, height // 8, width // 8)
        x = noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        text = torch.cat([self.codec.text(captions), self.no_text.expand(len(captions), -1, -1)])
        strength = plate.strength if plate else 1.0
        sigmas = shifted(torch.linspace(strength, 0, steps + 1)).tolist()
        if plate:
            x = sigmas[0] * noise + (1 - sigmas[0]) * plate.latents
        for sigma, target in pairwise(sigmas):
            if jump and jump[1] < sigma < jump[0]:
                continue
            x = x + (target - sigma) * self.velocity(x, sigma, text, condition, guidance)
            if plate:
                x = plate.pin(x, noise, target)
        return (self.codec.decode(x).permute(0, 2, 3, 4, 1).numpy() + 1) / 2

    def velocity(
        self,
        x: torch.Tensor,
        sigma: float,
        text: torch.Tensor,
        condition: torch.Tensor | None,
        guidance: float = GUIDANCE,
    ) -> torch.Tensor:
        """Guided velocity of ``x`` (B, ...); ``text`` is (2 B, ...), the captions, then none."""
        place = self.model.device
        condition = None if condition is None else condition.to(place)
        both = self._both(x.to(place), sigma, text.to(place), condition)
        told, untold = both.to(x.device).chunk(2)
        return untold + guidance * (told - untold)

    def _both(
        self, x: torch.Tensor, sigma: float, text: torch.Tensor, condition: torch.Tensor | None
    ) -> torch.Tensor:
        model = self.low if self.low is not None and sigma < self.boundary else self.model
        x = torch.cat([x, x])
        timestep = x.new_full((len(x),), 1000.0 * sigma)
        if not isinstance(model, WanVACETransformer3DModel):
            x = x if condition is None else torch.cat([x, torch.cat([condition] * 2)], dim=1)
            return model(x, timestep, text, return_dict=False)[0]
        layers = len(model.config.vace_layers)
        context = x.new_zeros(len(x), 96, *x.shape[2:])
        if condition is not None:
            context = torch.cat([condition] * 2)
        return model(
            x,
            timestep,
            text,
            control_hidden_states=context,
            return_dict=False,
            control_hidden_states_scale=x.new_full((layers,), float(condition is not None)),
        )[0]

    def inpaint(
        self,
        captions: list[str],
        sources: list[np.ndarray],
        masks: list[np.ndarray],
        seed: int,
        strength: float | None = None,
        **options: float,
    ) -> np.ndarray:
        """Replace what is under each mask (T, H, W); kept pixels are copied from the source.

        With a `strength` the latents that the masks do not touch are kept too, as in the engine.
        """
        context = self.context(sources, masks)
        plate = None if strength is None else self.plate(sources, masks, strength)
        size = sources[0].shape[:3]
        drawn = self.draw(captions, context, size, seed, plate=plate, **options)
        matte = np.stack(masks)[..., None]
        return matte * drawn + (1 - matte) * np.stack(sources)

    def plate(
        self, sources: list[np.ndarray], masks: list[np.ndarray], strength: float = 1.0
    ) -> Plate:
        clips = torch.stack([as_pixels(source) for source in sources])
        return Plate(self.codec.encode(clips), latent_cells(np.stack(masks)) > 0, strength)

    def context(self, sources: list[np.ndarray], masks: list[np.ndarray]) -> torch.Tensor:
        """VACE contexts (B, 96, t, h, w) of clips (T, H, W, 3) and their masks (T, H, W)."""
        return torch.cat(
            [
                vace_context(self.codec, as_pixels(source)[None], torch.from_numpy(mask)[None])
                for source, mask in zip(sources, masks, strict=True)
            ]
        )

    def animate(
        self,
        captions: list[str],
        first: list[np.ndarray],
        frames: int,
        seed: int,
        last: list[np.ndarray] | None = None,
        **options: float,
    ) -> np.ndarray:
        """Clips that start from the pictures `first`, (H, W, 3) each, in 0..1, and end with `last`
        if that is given."""
        known = torch.zeros(frames)
        known[0] = 1.0
        clips = torch.stack([as_pixels(picture[None].repeat(frames, axis=0)) for picture in first])
        if last is not None:
            known[-1] = 1.0
            clips[:, :, -1:] = torch.stack([as_pixels(picture[None]) for picture in last])
        condition = image_condition(self.codec, clips, known)
        return self.draw(captions, condition, (frames, *first[0].shape[:2]), seed, **options)


def write_sheet(path: Path, rows: list[list[np.ndarray]], columns: int = 4, zoom: int = 1) -> None:
    """A contact sheet: each row has its clips (T, H, W, 3) side by side, `columns` frames each."""
    lines = []
    for row in rows:
        picks = []
        for clip in row:
            shown = np.linspace(0, len(clip) - 1, min(columns, len(clip))).round().astype(int)
            picks += [np.pad(clip[i], ((1, 1), (1, 1), (0, 0)), constant_values=1) for i in shown]
        lines.append(np.concatenate(picks, axis=1))
    width = max(line.shape[1] for line in lines)
    lines = [np.pad(line, ((0, 0), (0, width - line.shape[1]), (0, 0))) for line in lines]
    sheet = np.concatenate(lines, axis=0).clip(0, 1)[..., ::-1] * 255
    sheet = cv2.resize(sheet, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), sheet.astype(np.uint8))
