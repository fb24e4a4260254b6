# SPDX-License-Identifier: GPL-3.0-or-later
"""Examples for the transformers: what the camera saw, what is masked, what shall be there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .backgrounds import STRUCTURED, Background, random_background
from .masks import free_mask, mask_around, other_frames, over_groups
from .world import Scene, caption, cover, random_scene, random_shape, render

Size = tuple[int, int, int]  # frames, height, width


@dataclass(frozen=True)
class Example:
    """`target` and `source` are (frames, height, width, 3) in 0..1, `mask` (frames, height, width).

    `source` is None where the masked part is blanked to mid gray before encoding; it equals
    `target` wherever the mask is at most one half. `things`, like the mask, is how much of each
    pixel of the target the shapes cover. `structured`: the kept part shows stripes, checks or cloth
    that run on under the mask.
    """

    caption: str
    target: np.ndarray
    mask: np.ndarray
    source: np.ndarray | None
    things: np.ndarray
    structured: bool = False


def draw_example(rng: np.random.Generator, frames: int, height: int, width: int) -> Example:
    """Replace an object, remove one or fill a wall, generate everything, mend what a mask has cut,
    restyle; three in ten clips extend or bridge what there is."""
    size = (frames, height, width)
    tasks = {_replace: 0.36, _remove: 0.24, _invent: 0.12, _mend: 0.10, _restyle: 0.06}
    if frames > 1:
        tasks[_continue] = 0.38
    shares = np.array(list(tasks.values()))
    task = list(tasks)[int(rng.choice(len(tasks), p=shares / shares.sum()))]
    return task(rng, size)


def _continue(rng: np.random.Generator, size: Size) -> Example:
    """Frames at one end or both are kept."""
    scene = replace(random_scene(rng, size[0]), background=_wall(rng, size[0]))
    target, things = render(scene, *size), covered(scene, size)
    mask = other_frames(rng, *size)
    return Example(caption(scene, rng), target, mask, None, things, _structured(scene))


def _invent(rng: np.random.Generator, size: Size) -> Example:
    """All of it, from the words alone; what was there may show, and counts for nothing."""
    scene = random_scene(rng, size[0])
    other = render(random_scene(rng, size[0]), *size) if rng.random() < 0.25 else None
    target, things = render(scene, *size), covered(scene, size)
    return Example(caption(scene, rng), target, np.ones(size, np.float32), other, things)


def _restyle(rng: np.random.Generator, size: Size) -> Example:
    """All of it, from a source with the same things in the same places and another look."""
    scene = random_scene(rng, size[0])
    looks = [random_shape(rng, size[0]) for _ in scene.shapes]
    shapes = tuple(
        replace(shape, rgb=look.rgb, shiny=look.shiny, pattern=look.pattern)
        for shape, look in zip(scene.shapes, looks, strict=True)
    )
    before = Scene(random_background(rng, size[0]), shapes)
    target, things = render(scene, *size), covered(scene, size)
    mask = np.ones(size, np.float32)
    return Example(caption(scene, rng), target, mask, render(before, *size), things)


def _mend(rng: np.random.Generator, size: Size) -> Example:
    """A mask that follows nothing cuts through a whole scene, and hides that part of it."""
    scene = replace(random_scene(rng, size[0]), background=_wall(rng, size[0]))
    target, things = render(scene, *size), covered(scene, size)
    mask = _shown(rng, free_mask(rng, *size))
    source = target if rng.random() < 0.3 else None
    return Example(caption(scene, rng), target, mask, source, things, _structured(scene))


def _replace(rng: np.random.Generator, size: Size) -> Example:
    """The caption tells of the new object alone; a bystander may stand outside the mask."""
    frames = size[0]
    ground = _wall(rng, frames)
    new = random_shape(rng, frames)
    target_scene = Scene(ground, (new,))
    told = caption(target_scene, rng)
    mask = _shown(rng, mask_around(rng, covered(target_scene, size)))
    if rng.random() < 0.25:
        bystander = Scene(ground, (random_shape(rng, frames), new))
        if not _overlap(covered(replace(bystander, shapes=bystander.shapes[:1]), size), mask):
            target_scene = bystander
    target, things = render(target_scene, *size), covered(target_scene, size)
    structured = _structured(target_scene)
    if rng.random() < 0.5:
        return Example(told, target, mask, None, things, structured)
    old = replace(random_shape(rng, frames), centre=new.centre)
    shapes = (*target_scene.shapes[:-1], old) if rng.random() < 0.75 else target_scene.shapes[:-1]
    source = _inside(mask, render(Scene(ground, shapes), *size), target)
    return Example(told, target, mask, source, things, structured)


def _remove(rng: np.random.Generator, size: Size) -> Example:
    """The mask holds an object of the source or nothing at all; the target holds nothing there."""
    frames = size[0]
    ground = _wall(rng, frames)
    old = Scene(ground, (random_shape(rng, frames),))
    empty = old.without_shapes()
    target, things = render(empty, *size), covered(empty, size)
    told, structured = caption(empty, rng), _structured(empty)
    if rng.random() < 0.4:
        mask = _shown(rng, free_mask(rng, *size))
        return Example(told, target, mask, None, things, structured)
    mask = _shown(rng, mask_around(rng, covered(old, size)))
    source = _inside(mask, render(old, *size), target) if rng.random() < 0.6 else None
    return Example(told, target, mask, source, things, structured)


def _wall(rng: np.random.Generator, frames: int) -> Background:
    """Half of these walls have a structure that can be continued, and a third of the rest too."""
    texture = str(rng.choice(STRUCTURED, p=(0.45, 0.40, 0.15)))
    return random_background(rng, frames, texture if rng.random() < 0.5 else None)


def _structured(scene: Scene) -> bool:
    return scene.background.texture in STRUCTURED


def _shown(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Mostly over whole groups of frames, as the engine shows masks; else frame by frame."""
    return over_groups(mask) if rng.random() < 0.6 else mask


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
