# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage 3: examples, encoded once and kept on disk; the transformers train on latents alone.

One process draws and encodes (`make_examples`), another trains and picks up what has appeared
(`ExamplePool`). Files are named by kind and size, and hold `CHUNK` examples each.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from .clips import Example, draw_example
from .latents import Codec, as_pixels, image_condition, vace_mask_channels

CHUNK = 16
Size = tuple[int, int, int]  # frames, height, width
IMAGE, LARGE_IMAGE = (1, 96, 96), (1, 128, 128)
SHORT, MIDDLE, LARGE, FULL = (9, 64, 64), (9, 96, 96), (9, 128, 128), (17, 128, 128)
# Of 16 chunks; stills are cheap to make and show best what things look like.
_TURNS = (IMAGE, MIDDLE, LARGE_IMAGE, IMAGE, LARGE, LARGE_IMAGE) * 2 + (IMAGE, SHORT, IMAGE, FULL)


def make_examples(
    folder: Path, kind: str, minutes: float, seed: int = 3, sizes: tuple[Size, ...] = _TURNS
) -> None:
    """Add chunks of `kind` ("vace" or "image") to those there are, for `minutes` of wall clock."""
    codec = Codec.load(folder)
    place = folder / "examples" / kind
    place.mkdir(parents=True, exist_ok=True)
    blanks = {size: codec.encode(torch.zeros(1, 3, *size)) for size in set(sizes)}
    sizes = tuple(size for size in sizes if kind == "vace" or size[0] > 1)
    number = len(list(place.glob("*.safetensors")))
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        size = sizes[number % len(sizes)]
        rng = np.random.default_rng((seed, number))
        examples = [draw_example(rng, *size) for _ in range(CHUNK)]
        if kind == "vace":
            pairs = [_for_vace(codec, example, blanks[size]) for example in examples]
        else:
            pairs = [_for_image(codec, example, rng) for example in examples]
        name = "x".join(map(str, size))
        partial = place / f"{name}_{number:05d}.partial"
        save_file(
            {
                "target": torch.cat([pair[0] for pair in pairs]).half(),
                "condition": torch.cat([pair[1] for pair in pairs]).half(),
                "text": codec.text([example.caption for example in examples]).half(),
            },
            partial,
        )
        partial.replace(partial.with_suffix(".safetensors"))
        number += 1


def _for_vace(
    codec: Codec, example: Example, blank: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of the target, and the 96-channel context; parts known to be gray are not encoded."""
    mask = torch.from_numpy(example.mask)[None]
    split = (mask > 0.5).float()[:, None]
    target = as_pixels(example.target)[None]
    source = target if example.source is None else as_pixels(example.source)[None]
    inactive = blank if example.mask.min() > 0.5 else codec.encode(source * (1 - split))
    reactive = blank if example.source is None else codec.encode(source * split)
    context = torch.cat([inactive, reactive, vace_mask_channels(mask)], dim=1)
    return codec.encode(target), context


def _for_image(
    codec: Codec, example: Example, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of the target, and the 20 channels of its first (sometimes also its last) frame."""
    target = as_pixels(example.target)[None]
    known = torch.zeros(target.shape[2])
    known[0] = 1.0
    if rng.random() < 0.15:
        known[-1] = 1.0
    return codec.encode(target), image_condition(codec, target, known)


class ExamplePool:
    """All examples of one kind that are on disk, in memory; look again with `refresh`."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.place = folder / "examples" / kind
        self.seen: set[Path] = set()
        self.chunks: dict[Size, list[dict[str, torch.Tensor]]] = {}
        self.refresh()

    def refresh(self) -> None:
        for path in sorted(set(self.place.glob("*.safetensors")) - self.seen):
            size = tuple(int(word) for word in path.stem.split("_")[0].split("x"))
            self.chunks.setdefault(size, []).append(load_file(path))
            self.seen.add(path)

    def batch(
        self, size: Size, count: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Targets (B, 16, t, h, w), conditions (B, 96 or 20, t, h, w), text (B, L, D), float32."""
        chunks = self.chunks[size]
        rows = [(chunks[rng.integers(len(chunks))], int(rng.integers(CHUNK))) for _ in range(count)]
        return tuple(
            torch.stack([chunk[name][row] for chunk, row in rows]).float()
            for name in ("target", "condition", "text")
        )
