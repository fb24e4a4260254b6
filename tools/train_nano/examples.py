# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage 3: examples, encoded once and kept on disk; the transformers train on latents alone.

One process draws and encodes (`make_examples`), another trains and picks up what has appeared
(`ExamplePool`). Files are named by kind and size, and hold `CHUNK` examples each.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from .clips import Example, draw_example
from .latents import Codec, as_pixels, image_condition, latent_cells, vace_mask_channels

CHUNK = 16
Size = tuple[int, int, int]  # frames, height, width
IMAGE, LARGE_IMAGE = (1, 96, 96), (1, 128, 128)
SHORT, MIDDLE, LARGE, FULL = (9, 64, 64), (9, 96, 96), (9, 128, 128), (17, 128, 128)
# Stills are cheap to make and show best what things look like; only clips can be bridged.
_TURNS = (LARGE_IMAGE, LARGE, IMAGE, MIDDLE, SHORT, FULL)
SEED = 5


def read_name(path: Path) -> tuple[Size, int]:
    """Size and number of an example file."""
    size, number = path.stem.split("_")
    return tuple(map(int, size.split("x"))), int(number)


def redraw(path: Path) -> list[Example]:
    """The pictures that the latents in an example file were made of."""
    return _draw(*read_name(path))[0]


def _draw(size: Size, number: int) -> tuple[list[Example], np.random.Generator]:
    """The pictures of a file, and the generator as it is after them."""
    rng = np.random.default_rng((SEED, number))
    return [draw_example(rng, *size) for _ in range(CHUNK)], rng


def make_examples(
    folder: Path,
    kind: str,
    minutes: float,
    sizes: tuple[Size, ...] = _TURNS,
    maker: int = 0,
    makers: int = 1,
    most: int = 1 << 20,
) -> None:
    """Add chunks of `kind` ("vace" or "image") to those there are, for `minutes` of wall clock or
    until there are `most`. Several `makers` share the numbers; `maker` is which one this is."""
    codec = Codec.load(folder)
    place = folder / "examples" / kind
    place.mkdir(parents=True, exist_ok=True)
    blanks = {size: codec.encode(torch.zeros(1, 3, *size)) for size in set(sizes)}
    sizes = tuple(size for size in sizes if kind == "vace" or size[0] > 1)
    made = {read_name(path)[1] for path in place.glob("*.safetensors")}
    numbers = (number for number in range(maker, most, makers) if number not in made)
    end, parent = time.monotonic() + 60 * minutes, os.getppid()
    for number in numbers:
        if time.monotonic() > end or os.getppid() != parent:
            break
        size = sizes[number % len(sizes)]
        examples, rng = _draw(size, number)
        if kind == "vace":
            target, condition = _for_vace(codec, examples, blanks[size])
        else:
            target, condition = _for_image(codec, examples, rng)
        name = "x".join(map(str, size))
        partial = place / f"{name}_{number:05d}.partial"
        save_file(
            {
                "target": target.half(),
                "condition": condition.half(),
                "text": codec.text([example.caption for example in examples]).half(),
                "things": latent_cells(np.stack([example.things for example in examples])).half(),
                "structured": torch.tensor([float(example.structured) for example in examples]),
            },
            partial,
        )
        partial.replace(partial.with_suffix(".safetensors"))


def _for_vace(
    codec: Codec, examples: list[Example], blank: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of the targets, and 96-channel contexts; parts known to be gray are not encoded."""
    masks = torch.stack([torch.from_numpy(example.mask) for example in examples])
    split = (masks > 0.5).float()[:, None]
    targets = torch.stack([as_pixels(example.target) for example in examples])
    sources = targets.clone()
    for row, example in enumerate(examples):
        if example.source is not None:
            sources[row] = as_pixels(example.source)
    inactive, reactive = (blank.repeat(len(examples), 1, 1, 1, 1) for _ in range(2))
    kept = [row for row, example in enumerate(examples) if example.mask.min() <= 0.5]
    seen = [row for row, example in enumerate(examples) if example.source is not None]
    if kept:
        inactive[kept] = codec.encode((sources * (1 - split))[kept])
    if seen:
        reactive[seen] = codec.encode((sources * split)[seen])
    context = torch.cat([inactive, reactive, vace_mask_channels(masks)], dim=1)
    return codec.encode(targets), context


def _for_image(
    codec: Codec, examples: list[Example], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of the targets, and the 20 channels of their first (sometimes also last) frames."""
    conditions, targets = [], torch.stack([as_pixels(example.target) for example in examples])
    for target in targets:
        known = torch.zeros(target.shape[1])
        known[0] = 1.0
        if rng.random() < 0.4:
            known[-1] = 1.0
        conditions.append(image_condition(codec, target[None], known))
    return codec.encode(targets), torch.cat(conditions)


class ExamplePool:
    """All examples of one kind that are on disk, in memory; look again with `refresh`."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.place = folder / "examples" / kind
        self.seen: set[Path] = set()
        self.chunks: dict[Size, list[dict[str, torch.Tensor]]] = {}
        self.refresh()

    def refresh(self) -> None:
        for path in sorted(set(self.place.glob("*.safetensors")) - self.seen):
            size, _ = read_name(path)
            self.chunks.setdefault(size, []).append(load_file(path))
            self.seen.add(path)

    def batch(self, size: Size, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        """Targets (B, 16, t, h, w), conditions (B, 96 or 20, t, h, w), text (B, L, D), how much
        of each cell things cover (B, 1, t, h, w), and whether the wall can be continued (B,),
        float32."""
        chunks = self.chunks[size]
        rows = [(chunks[rng.integers(len(chunks))], int(rng.integers(CHUNK))) for _ in range(count)]
        return tuple(
            torch.stack([chunk[name][row] for chunk, row in rows]).float()
            for name in ("target", "condition", "text", "things", "structured")
        )
