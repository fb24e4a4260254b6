# SPDX-License-Identifier: GPL-3.0-or-later
"""Photograph-like pictures with a patch that is off by a known fault: what matching mends.

dB in the mask against the picture without the fault; what was generated reaches 8 pixels further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np

from tests.engine.borrow.clips import OVER, Recipe, paint_world
from tools.train_nano.vision import psnr
from wan_blender.core.mask_settings import Output
from wan_blender.engine.frames.seams import ring_around
from wan_blender.engine.matching import look_at, matched

SIDE = 256
Fault = Callable[[np.ndarray, float], np.ndarray]


def _tint(picture: np.ndarray, strength: float) -> np.ndarray:
    return picture + strength * np.float32([0.12, 0.0, -0.1])


def _exposure(picture: np.ndarray, strength: float) -> np.ndarray:
    return picture + strength * 0.15 * (picture + 1)


def _vignette(picture: np.ndarray, strength: float) -> np.ndarray:
    x, y = np.meshgrid(*[np.linspace(-1, 1, SIDE, dtype=np.float32)] * 2)
    return picture + strength * 0.25 * (x + 0.6 * y)[..., None]


def _blur(picture: np.ndarray, strength: float) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), max(2 * strength, 1e-3))


FAULTS: dict[str, Fault] = {
    "colour": _tint,
    "exposure": _exposure,
    "vignette": _vignette,
    "blur": _blur,
}
WAYS = {
    "as it comes": Output(),
    "colour": Output(colour_match=True),
    "harmonise": Output(harmonise=1),
    "both": Output(colour_match=True, harmonise=1),
    "both, half": Output(colour_match=True, harmonise=0.5),
}


def photographs(count: int) -> Iterator[np.ndarray]:
    """(SIDE, SIDE, 3) in [-1, 1], with grain."""
    for seed in range(count):
        world = paint_world(Recipe("still"), seed + 1)[..., :3]
        small = cv2.resize(world, None, fx=1 / OVER, fy=1 / OVER, interpolation=cv2.INTER_AREA)
        rng = np.random.default_rng(seed)
        top, left = (int(rng.integers(0, side - SIDE + 1)) for side in small.shape[:2])
        part = small[top : top + SIDE, left : left + SIDE]
        yield np.clip(2 * part - 1 + rng.normal(0, 0.01, part.shape), -1, 1).astype(np.float32)


def a_mask(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros((SIDE, SIDE), np.float32)
    centre = rng.integers(90, SIDE - 90, 2)
    axes = rng.integers(30, 60, 2)
    cv2.ellipse(mask, centre.tolist(), axes.tolist(), float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    return mask


def patched(picture: np.ndarray, wrong: np.ndarray, mask: np.ndarray, output: Output) -> np.ndarray:
    """``wrong`` inside ``mask`` and 8 pixels around, as ``output`` matches it."""
    grown = cv2.dilate(mask, np.ones((17, 17), np.uint8)) > 0
    seen = np.where(grown[..., None], wrong, picture).astype(np.float32)
    look = look_at(output, picture, seen, mask, ring_around(mask), grown)
    return np.where(mask[..., None] > 0, matched(output, 0, {0: look}, 0), picture)


def table(count: int) -> Iterable[str]:
    yield f"| fault | {' | '.join(WAYS)} |"
    yield "|---" * (len(WAYS) + 1) + "|"
    pictures = list(photographs(count))
    for name, fault in {**FAULTS, "none": lambda picture, _: picture}.items():
        levels = []
        for output in WAYS.values():
            found = []
            for seed, picture in enumerate(pictures):
                mask = a_mask(seed)
                made = patched(picture, fault(picture, 1.0), mask, output)
                found.append(psnr(made[mask > 0] / 2, picture[mask > 0] / 2))
            levels.append(f"{np.mean(found):.1f}")
        yield f"| {name} | {' | '.join(levels)} |"
