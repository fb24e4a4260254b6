# SPDX-License-Identifier: GPL-3.0-or-later
"""Image-to-video and first-last-frame: 36 channels = 16 noise + 4 mask + 16 image latents.

The model is told which frames are given (mask 1 = given, the reverse of every other mask here)
and sees them encoded, gray where nothing is given. Channel j of latent i is frame 4i-3+j; frame 0
fills all four channels of latent 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...core.errors import WrongModel
from ...core.frame_ranges import frame_ranges
from ...core.job_pictures import END, START
from ...model_info.traits import KINDS, Traits
from ..models.bundle import Bundle
from .clip_vision import encode_images
from .encoded import encode, kept
from .scene import Scene
from .text import TextOnly

Tensor = torch.Tensor


class ImageToVideo(TextOnly):
    def __init__(self, bundle: Bundle, scene: Scene) -> None:
        frames = GivenFrames(scene, bundle.traits, bundle.name)
        image = encode(bundle, scene, "given", frames.picture, scene.frames)
        cells = [known_cells(frames.known(i), bundle.traits.cell) for i in range(scene.frames)]
        mask = known_channels(torch.from_numpy(np.stack(cells)))
        self.context = torch.cat([mask[None].to(image), image], 1)
        self.tokens = _look(bundle, scene, frames)

    def inputs(self, x: Tensor, level: float | Tensor, latents: Sequence[int]) -> dict[str, Any]:
        seen = torch.cat([x, self.context[:, :, list(latents)].to(x)], 1)
        inputs = {**super().inputs(x, level, latents), "hidden_states": seen}
        if self.tokens is not None:
            inputs["encoder_hidden_states_image"] = self.tokens
        return inputs


def _look(bundle: Bundle, scene: Scene, frames: GivenFrames) -> Tensor | None:
    """What CLIP makes of the given frames, for the models that attend to it."""
    if not bundle.traits.needs_clip:
        return None
    key = (bundle.content("image_encoder"), bundle.dtype, bundle.traits)
    tokens = kept(lambda: encode_images(bundle, frames.key_pictures()), scene, "clip", *key)
    return tokens.to(bundle.device)


def known_cells(known: np.ndarray, cell: int = 8) -> np.ndarray:
    """(H, W) map, 1 = given -> (h, w). A cell is given when all of its pixels are."""
    height, width = known.shape
    return known.reshape(height // cell, cell, width // cell, cell).min((1, 3))


def known_channels(cells: Tensor) -> Tensor:
    """(T, h, w) -> (4, t, h, w)."""
    slots = torch.cat([cells[:1].repeat(4, 1, 1), cells[1:]])
    return slots.unflatten(0, (-1, 4)).transpose(0, 1)


class GivenFrames:
    """Which frames, or pixels of them, the model may take as given, and their pictures."""

    def __init__(self, scene: Scene, traits: Traits, name: str) -> None:
        self.scene, self.settings = scene, scene.settings
        wants_end, asked = KINDS[traits.kind].needs_end, scene.settings.known
        self.gives_pixels = (traits.known if asked == "model" else asked) == "pixels"
        self.start, self.end = scene.given(START), scene.given(END)
        self.last = len(scene.shot) - 1
        self.wants_end = wants_end or self.end is not None
        self.start_frames = self.settings.start_frames or self._leading()
        if not self.gives_pixels:
            self._require(0, self.start, "start", name)
            if wants_end:
                self._require(self.last, self.end, "end", name)

    def known(self, index: int) -> np.ndarray:
        """(H, W) float32, 1 where the model is given the picture."""
        mask = self.scene.mask(index)
        if self._is_replaced(index):
            return np.ones_like(mask)
        if self.gives_pixels:
            return (mask == 0).astype(np.float32)
        whole = index < self.start_frames or self._is_end(index)
        return np.full_like(mask, float(whole and not mask.any()))

    def picture(self, index: int) -> np.ndarray:
        """(H, W, 3) in [-1, 1]; 0, which is gray, where nothing is given."""
        if self._is_replaced(index):
            return self.start if index == 0 else self.end
        known = self.known(index)
        if not known.any():
            return np.zeros((*known.shape, 3), np.float32)
        return self.scene.picture(index) * known[..., None]

    def key_pictures(self) -> list[np.ndarray]:
        """First, and for first-last-frame models last: what CLIP is shown."""
        return [self.picture(0), *([self.picture(self.last)] if self.wants_end else [])]

    def notes(self, name: str) -> list[str]:
        """What of the shot and the settings the model ``name`` is not told, in words."""
        asked, first = self.settings.start_frames, self.scene.shot.first_frame
        if self.gives_pixels:
            none = f"model_mask.start_frames does nothing: {name} is given all unmasked pixels."
            return [none] if asked > 1 else []
        whole = [i for i in range(self.last + 1) if not self.scene.mask(i).any()]
        hidden = [first + i for i in whole if not self.known(i).any()]
        masked = [first + i for i in range(min(asked, self.last + 1)) if not self.known(i).any()]
        notes = []
        if masked:
            notes.append(
                f"model_mask.start_frames is {asked}; masked and not given: {frame_ranges(masked)}."
            )
        if hidden:
            notes.append(f"Unmasked, but not shown to {name}: {frame_ranges(hidden)}.")
            if self.start_frames < self._leading():
                notes[-1] += " model_mask.start_frames 0 shows it all up to the first masked one."
        return notes

    def _leading(self) -> int:
        """How many frames come before the first masked one."""
        frames = range(self.last + 1)
        return next((i for i in frames if self.scene.mask(i).any()), len(frames))

    def _is_end(self, index: int) -> bool:
        """The padding after the last frame repeats it."""
        return self.wants_end and index >= self.last

    def _is_replaced(self, index: int) -> bool:
        return (index == 0 and self.start is not None) or (
            self._is_end(index) and self.end is not None
        )

    def _require(self, index: int, given: Any, word: str, name: str) -> None:
        mask = self.scene.mask(index)
        if given is None and mask.any():
            raise WrongModel(
                f"{name} needs a {word} frame, but frame {index} is masked on "
                f"{mask.astype(bool).mean():.0%} of its pixels and the job names no "
                f"picture in model_mask.{word}_image.",
                f"Give a {word} frame there, leave frame {index} unmasked, or choose a "
                "text-to-video or VACE model.",
            )
