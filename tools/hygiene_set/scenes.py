# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures with known answers, at generation size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .patches import DECOYS, SINKS, Patch, soft_noise, tint

WIDTH, HEIGHT, OVER = 832, 480, 2


@dataclass(frozen=True)
class Region:
    """One labelled part of a picture. ``mask`` (H, W) bool."""

    name: str
    is_sink: bool
    mask: np.ndarray


@dataclass(frozen=True)
class Picture:
    rgb: np.ndarray  # (H, W, 3) float32 in 0..1
    regions: list[Region]


# Size of each sink in pixels of the picture: (height, width) from .. to.
SINK_SIZE = {
    "switch": ((26, 16), (44, 30)),
    "knob": ((10, 10), (20, 20)),
    "teeth": ((14, 30), (26, 56)),
    "laces": ((50, 30), (100, 60)),
    "label": ((30, 40), (70, 110)),
    "glints": ((24, 24), (60, 60)),
    "shelf": ((24, 70), (50, 200)),
}
LARGE = ((90, 120), (220, 300))
DECOY_SIZE = ((120, 180), (260, 400))


def labelled(seed: int) -> Picture:
    """A calm picture with two sinks and two uniform textures at random places.

    Every second seed the whole background is a uniform texture too.
    """
    rng = np.random.default_rng(seed)
    canvas = calm(rng)
    regions: list[Region] = []
    taken = np.zeros((HEIGHT, WIDTH), bool)
    if seed % 2:
        name = str(rng.choice(list(DECOYS)))
        canvas = DECOYS[name](rng, HEIGHT * OVER, WIDTH * OVER)[0]
    for name in rng.choice(list(DECOYS), 2, replace=False):
        _place(canvas, taken, regions, rng, str(name), False, *DECOY_SIZE)
    for name in rng.choice(list(SINKS), 2, replace=False):
        _place(canvas, taken, regions, rng, str(name), True, *SINK_SIZE.get(str(name), LARGE))
    if seed % 2:
        free = cv2.erode((~taken).astype(np.uint8), np.ones((25, 25))) > 0
        regions.append(Region("background", False, free))
    return Picture(camera(rng, canvas), regions)


def calm(rng: np.random.Generator) -> np.ndarray:
    """(2H, 2W, 3): a few large soft shapes and one clean edge."""
    height, width = HEIGHT * OVER, WIDTH * OVER
    small = np.broadcast_to(tint(rng, 0.35, 0.7), (height // 8, width // 8, 3)).copy()
    for _ in range(6):
        center = (int(rng.integers(0, width // 8)), int(rng.integers(0, height // 8)))
        axes = (int(rng.integers(12, 62)), int(rng.integers(10, 38)))
        cv2.ellipse(small, center, axes, float(rng.uniform(0, 180)), 0, 360,
                    tint(rng, 0.2, 0.8).tolist(), -1)  # fmt: skip
    small = cv2.GaussianBlur(small, (0, 0), 7.5)
    canvas = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    x = int(rng.integers(width // 4, width * 3 // 4))
    canvas[:, x:] *= rng.uniform(0.6, 0.85)
    return canvas + soft_noise(rng, height, width, 40)[..., None] * 0.02


def paste(canvas: np.ndarray, patch: Patch, x: int, y: int) -> np.ndarray:
    """Lay ``patch`` over ``canvas`` in place; returns its mask at picture size, (H, W) bool."""
    rgb, alpha = patch
    height, width = alpha.shape
    part = canvas[y : y + height, x : x + width]
    part += (rgb - part) * alpha[..., None]
    mask = np.zeros(canvas.shape[:2], np.float32)
    mask[y : y + height, x : x + width] = alpha
    return cv2.resize(mask, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) > 0.5


def camera(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Reduce to picture size, then lens softness, light fall-off, shot and chroma noise, 8 bits."""
    rgb = cv2.resize(canvas.clip(0, 1), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.3, 0.6))
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    rgb = rgb * (1 - rng.uniform(0.05, 0.25) * (x * x + y * y))[..., None]
    level = rng.uniform(0.004, 0.02)
    luma_noise = soft_noise(rng, HEIGHT, WIDTH, 0.5)[..., None]
    chroma_noise = np.stack([soft_noise(rng, HEIGHT, WIDTH, 1.2) for _ in range(3)], 2)
    rgb = rgb + level * np.sqrt(rgb.clip(0.02, 1)) * (luma_noise + 0.5 * chroma_noise)
    return (np.round(rgb.clip(0, 1) * 255) / 255).astype(np.float32)


def _place(
    canvas: np.ndarray,
    taken: np.ndarray,
    regions: list[Region],
    rng: np.random.Generator,
    name: str,
    is_sink: bool,
    smallest: tuple[int, int],
    largest: tuple[int, int],
) -> None:
    """Draw one patch where nothing labelled is yet; leave it out when 60 tries find no room."""
    for _ in range(60):
        height, width = (int(rng.integers(a, b)) for a, b in zip(smallest, largest, strict=True))
        y, x = int(rng.integers(8, HEIGHT - height - 8)), int(rng.integers(8, WIDTH - width - 8))
        if taken[y - 8 : y + height + 8, x - 8 : x + width + 8].any():
            continue
        draw = (SINKS if is_sink else DECOYS)[name]
        mask = paste(canvas, draw(rng, height * OVER, width * OVER), x * OVER, y * OVER)
        taken |= mask
        inside = mask if is_sink else cv2.erode(mask.astype(np.uint8), np.ones((21, 21))) > 0
        regions.append(Region(name, is_sink, inside))
        return
