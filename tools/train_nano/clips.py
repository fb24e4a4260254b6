# SPDX-License-Identifier: GPL-3.0-or-later
"""Examples for the transformers: what the camera saw, what is masked, what shall be there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .backgrounds import random_background
from .masks import free_mask, later_frames, mask_around
from .world import Scene, caption, cover, random_scene, random_shape, render


@dataclass(frozen=True)
class Example:
    """`target` and `source` are (frames, height, width, 3) in 0..1, `mask` (frames, height, width).

    `source` is None where the masked part is blanked to mid gray before encoding; it equals
    `target` wherever the mask is at most one half. `things`, like the mask, is how much of each
    pixel of the target the shapes cover.
    """

    caption: str
    target: np.ndarray
    mask: np.ndarray
    source: np.ndarray | None
    things: np.ndarray


def draw_example(rng: np.random.Generator, frames: int, height: int, width: int) -> Example:
    """Replace an object 50 %, generate everything 25 %, remove 15 %, extend 10 %."""
    task = rng.random()
    size = (frames, height, width)
    if task < 0.50:
        return _replace(rng, size)
    if task < 0.65:
        return _remove(rng, size)
    scene = random_scene(rng, frames)
    target, things = render(scene, *size), covered(scene, size)
    if task < 0.75 and frames > 1:
        return Example(caption(scene, rng), target, later_frames(rng, *size), None, things)
    other = render(random_scene(rng, frames), *size) if rng.random() < 0.3 else None
    return Example(caption(scene, rng), target, np.ones(size, np.float32), other, things)


def _replace(rng: np.random.Generator, size: tuple[int, int, int]) -> Example:
    """The caption tells of the new object alone; a bystander may stand outside the mask."""
    frames = size[0]
    ground = random_background(rng, frames)
    new = random_shape(rng, frames)
    target_scene = Scene(ground, (new,))
    told = caption(target_scene, rng)
    mask = mask_around(rng, covered(target_scene, size))
    if rng.random() < 0.25:
        bystander = Scene(ground, (random_shape(rng, frames), new))
        if not _overlap(covered(replace(bystander, shapes=bystander.shapes[:1]), size), mask):
            target_scene = bystander
    target, things = render(target_scene, *size), covered(target_scene, size)
    if rng.random() < 0.5:
        return Example(told, target, mask, None, things)
    old = replace(random_shape(rng, frames), centre=new.centre)
    shapes = (*target_scene.shapes[:-1], old) if rng.random() < 0.75 else target_scene.shapes[:-1]
    source = _inside(mask, render(Scene(ground, shapes), *size), target)
    return Example(told, target, mask, source, things)


def _remove(rng: np.random.Generator, size: tuple[int, int, int]) -> Example:
    """The mask holds an object of the source or nothing at all; the target holds nothing there."""
    frames = size[0]
    ground = random_background(rng, frames)
    old = Scene(ground, (random_shape(rng, frames),))
    empty = old.without_shapes()
    target, things = render(empty, *size), covered(empty, size)
    told = caption(empty, rng)
    if rng.random() < 0.3:
        return Example(told, target, free_mask(rng, *size), None, things)
    mask = mask_around(rng, covered(old, size))
    source = _inside(mask, render(old, *size), target) if rng.random() < 0.6 else None
    return Example(told, target, mask, source, things)


def _inside(mask: np.ndarray, inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None] > 0.5, inner, outer)


def _overlap(covered: np.ndarray, mask: np.ndarray) -> bool:
    return bool(((covered > 0.02) & (mask > 0.0)).any())


def covered(scene: Scene, size: tuple[int, int, int]) -> np.ndarray:
    """How much of each pixel the shapes cover, (frames, height, width) in 0..1."""
    frames, height, width = size
    times = [index / max(frames - 1, 1) for index in range(frames)]
    covers = [
        np.stack([cover(shape, time, height, width)[0] for time in times]) for shape in scene.shapes
    ]
    return np.max(covers, axis=0) if covers else np.zeros(size, np.float32)
