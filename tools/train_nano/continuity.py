# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of what the bundled model joins to what is kept: walls, motion, things; and of words that
stand alone. The sampler keeps latents as the engine does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from .backgrounds import random_background
from .clips import covered
from .masks import mask_around, over_groups
from .sample import Sampler, write_sheet
from .vision import look, pattern_of, psnr
from .world import HUES, Scene, Shape, random_shape, render

HELD_OUT = 900_000  # no training seed is this large
BATCH = 4
EDGE_PIXELS = 16  # two cells: what "across the edge" is measured in
Size = tuple[int, int, int]
CONTEXT = 5  # frames that a bridge keeps at its start; at its end one less, a group


@dataclass(frozen=True)
class Figure:
    """One line of the report."""

    what: str
    measured: str
    wanted: str
    met: bool | None


def share(what: str, hits: list[bool], wanted: float | None = None) -> Figure:
    """Per cent of `hits`, and whether that is at least `wanted` per cent."""
    percent = 100 * float(np.mean(hits))
    met = None if wanted is None else percent >= wanted
    return Figure(what, f"{percent:.1f} %", "" if wanted is None else f">= {wanted:.0f} %", met)


Drawn = list[tuple[Scene, np.ndarray, np.ndarray, np.ndarray]]  # scene, truth, mask, clip


def draw_all(
    sampler: Sampler,
    count: int,
    task: Callable[[int], tuple[Scene, str, np.ndarray, np.ndarray, np.ndarray]],
    sheet: Path | None = None,
    strength: float = 1.0,
) -> Drawn:
    """What is drawn of `count` tasks; `task(number)` gives scene, prompt, source, mask, truth."""
    found: Drawn = []
    rows = []
    for start in range(0, count, BATCH):
        tasks = [task(number) for number in range(start, min(start + BATCH, count))]
        scenes, prompts, sources, masks, truths = map(list, zip(*tasks, strict=True))
        clips = sampler.inpaint(prompts, sources, masks, seed=start, strength=strength)
        found += zip(scenes, truths, masks, clips, strict=True)
        rows += [
            [source, np.repeat(mask[..., None], 3, axis=-1), clip]
            for source, mask, clip in zip(sources, masks, clips, strict=True)
        ]
    if sheet:
        write_sheet(sheet, rows[:12])
    return found


def structure(
    sampler: Sampler, size: Size, clips: int = 100, sheet: Path | None = None
) -> list[Figure]:
    """A shape is removed from a striped or checked wall: does the wall run on under the mask?

    Pearson's correlation of brightness with the true wall, per clip over the part of the mask that
    is within `EDGE_PIXELS` of its edge, and over all of it; means over clips. Correlation does not
    see that stripes are faint, PSNR in the mask does.
    """

    def task(number: int) -> tuple:
        rng = np.random.default_rng(HELD_OUT + 6000 + number)
        wall = random_background(rng, size[0], ("striped", "checked")[number % 2])
        scene = Scene(wall, (random_shape(rng, size[0]),))
        mask = over_groups(mask_around(rng, covered(scene, size)))
        empty = scene.without_shapes()
        return empty, "empty background", render(scene, *size), mask, render(empty, *size)

    drawn = draw_all(sampler, clips, task, sheet)
    edge, whole = [], []
    for _, truth, mask, clip in drawn:
        inside = mask > 0.5
        edge.append(_correlation(clip, truth, inside & ~_deep(inside)))
        whole.append(_correlation(clip, truth, inside))
    steps = [edge_step(clip, truth, mask > 0.5) for _, truth, mask, clip in drawn]
    values = {
        "structure continued across the edge, correlation, {} clips": np.mean(edge),
        "striped walls of them": np.mean(edge[::2]),
        "checked walls of them": np.mean(edge[1::2]),
        "structure continued in all of the mask": np.mean(whole),
    }
    figures = [
        Figure(
            what.format(clips),
            f"{value:.2f}",
            "" if rank else ">= 0.80",
            None if rank else bool(value >= 0.8),
        )
        for rank, (what, value) in enumerate(values.items())
    ]
    near = np.mean([psnr(clip[mask > 0.5], truth[mask > 0.5]) for _, truth, mask, clip in drawn])
    seam, step = (
        "seam: step at the mask's edge beyond the wall's own",
        f"{np.mean(steps):.1f} of 255",
    )
    return [
        *figures,
        Figure("such walls in the mask, PSNR", f"{near:.1f} dB", "", None),
        Figure(seam, step, "", None),
    ]


def _deep(inside: np.ndarray) -> np.ndarray:
    """Pixels further than `EDGE_PIXELS` from the edge of a mask, bool (T, H, W); beyond the frame
    the mask goes on."""
    kernel = np.ones((2 * EDGE_PIXELS + 1,) * 2, np.uint8)
    return np.stack([cv2.erode(frame.astype(np.uint8), kernel) > 0 for frame in inside])


def _correlation(clip: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    a, b = (picture.mean(axis=-1)[where] for picture in (clip, truth))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 1e-4 else 0.0


def edge_step(clip: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> float:
    """Mean absolute difference of neighbours across a mask's edge, less that of the true picture,
    in levels of 255."""
    steps, own = [], []
    for axis in (1, 2):
        across = np.diff(inside.astype(np.int8), axis=axis) != 0
        for picture, into in ((clip, steps), (truth, own)):
            into.append(np.abs(np.diff(picture, axis=axis)).mean(axis=-1)[across])
    return 255 * float(np.concatenate(steps).mean() - np.concatenate(own).mean())


def _one_shape(number: int, frames: int, **fixed: str) -> Scene:
    """A shape that moves, over any wall; colours in turn."""
    rng = np.random.default_rng(HELD_OUT + 7000 + number)
    wall = random_background(rng, frames)
    colour = list(HUES)[number % len(HUES)]
    return Scene(wall, (random_shape(rng, frames, **({"colour": colour, "pattern": ""} | fixed)),))


def held_together(clip: np.ndarray, shape: Shape) -> bool:
    """Is the shape seen, in its colour, in every frame?"""
    sights = [look(frame) for frame in clip]
    return all(sight is not None and sight.colour == shape.colour for sight in sights)


def bridge(
    sampler: Sampler, size: Size, clips: int = 24, sheet: Path | None = None
) -> list[Figure]:
    """17 frames of which the first five and the last four are kept: do the others join them?

    The jump of a cut is the mean difference of the frames on both sides of it, less what the true
    clip moves there.
    """
    size = (17, *size[1:])

    def task(number: int) -> tuple:
        scene = _one_shape(number, size[0], direction=("left", "right", "up", "down")[number % 4])
        truth = render(scene, *size)
        mask = np.zeros(size, np.float32)
        mask[CONTEXT : 1 - CONTEXT] = 1.0
        return scene, scene.shapes[0].sentence(), truth, mask, truth

    drawn = draw_all(sampler, clips, task, sheet)

    def jump(at: int) -> float:
        return 255 * float(
            np.mean(
                [
                    np.abs(clip[at] - clip[at - 1]).mean() - np.abs(true[at] - true[at - 1]).mean()
                    for _, true, _, clip in drawn
                ]
            )
        )

    whole = [held_together(clip, scene.shapes[0]) for scene, _, _, clip in drawn]
    made = slice(CONTEXT, 1 - CONTEXT)
    return [
        Figure("bridge: entry jump", f"{jump(CONTEXT):.2f} of 255", "", None),
        Figure("bridge: exit jump", f"{jump(size[0] + 1 - CONTEXT):.2f} of 255", "", None),
        share(f"bridge holds together, {clips} clips", whole, 90),
        _nearness("bridge: new frames to the true ones, PSNR", drawn, made),
    ]


def _nearness(what: str, drawn: Drawn, made: slice) -> Figure:
    values = [psnr(clip[made], truth[made]) for _, truth, _, clip in drawn]
    return Figure(what, f"{np.mean(values):.1f} dB", "", None)


def first_last(
    sampler: Sampler, size: Size, clips: int = 24, sheet: Path | None = None
) -> list[Figure]:
    """First and last frame are kept, by VACE's mask or by the I2V model's channels."""

    def task(number: int) -> tuple:
        scene = _one_shape(100 + number, size[0], direction=("left", "up")[number % 2])
        truth = render(scene, *size)
        mask = np.ones(size, np.float32)
        mask[0] = mask[-1] = 0.0
        return scene, scene.shapes[0].sentence(), truth, mask, truth

    if hasattr(sampler.model, "vace_blocks"):
        drawn, kind = draw_all(sampler, clips, task, sheet), "VACE"
    else:
        drawn, kind = _animated(sampler, size, clips, task), "I2V"
    whole = [held_together(clip, scene.shapes[0]) for scene, _, _, clip in drawn]
    return [
        share(f"first and last frame, {kind}: holds together, {clips} clips", whole, 90),
        _nearness(f"first and last frame, {kind}: PSNR of those between", drawn, slice(1, -1)),
    ]


def _animated(sampler: Sampler, size: Size, clips: int, task: Callable[[int], tuple]) -> Drawn:
    found: Drawn = []
    for start in range(0, clips, BATCH):
        scenes, prompts, sources, masks, truths = zip(*map(task, range(start, start + BATCH)))
        drawn = sampler.animate(
            list(prompts),
            [source[0] for source in sources],
            size[0],
            seed=start,
            last=[source[-1] for source in sources],
        )
        found += zip(scenes, truths, masks, drawn, strict=True)
    return found


def words_alone(
    sampler: Sampler, size: Size, clips: int = 40, sheet: Path | None = None
) -> list[Figure]:
    """Text to video without a mask: one thing of the colour and the shape that were asked for."""
    hue, kind, rows = [], [], []
    for start in range(0, clips, BATCH):
        scenes = [_one_shape(200 + start + i, size[0]) for i in range(BATCH)]
        prompts = [
            f"{scene.shapes[0].sentence()} over {scene.background.phrase()}" for scene in scenes
        ]
        for scene, clip in zip(scenes, sampler.draw(prompts, None, size, start), strict=True):
            sight = look(clip[len(clip) // 2])
            hue.append(sight is not None and sight.colour == scene.shapes[0].colour)
            kind.append(sight is not None and sight.kind == scene.shapes[0].kind)
            rows.append(clip)
    if sheet:
        write_sheet(sheet, [rows[at : at + 3] for at in range(0, min(len(rows), 24), 3)])
    return [
        share(f"text to video without a mask: hue right, {clips} prompts", hue, 90),
        share(f"text to video without a mask: shape right, {clips} prompts", kind, 75),
    ]


def restyle(
    sampler: Sampler, size: Size, clips: int = 40, sheet: Path | None = None
) -> list[Figure]:
    """The whole frame at strength 0.4, asked for the same shape in another colour."""

    def task(number: int) -> tuple:
        scene = _one_shape(300 + number, size[0])
        (shape,) = scene.shapes
        colours = list(HUES)
        other = colours[(colours.index(shape.colour) + 2) % len(colours)]
        wanted = replace(scene, shapes=(replace(shape, colour=other),))
        prompt = f"{wanted.shapes[0].sentence()} over {scene.background.phrase()}"
        source = render(scene, *size)
        return wanted, prompt, source, np.ones(size, np.float32), source

    hue, kind = [], []
    for scene, _, _, clip in draw_all(sampler, clips, task, sheet, strength=0.4):
        sight = look(clip[len(clip) // 2])
        hue.append(sight is not None and sight.colour == scene.shapes[0].colour)
        kind.append(sight is not None and sight.kind == scene.shapes[0].kind)
    return [
        share(f"restyle at 0.4: hue right, {clips} clips", hue),
        share(f"restyle at 0.4: shape kept, {clips} clips", kind, 75),
    ]


def patterns(
    sampler: Sampler, size: Size, clips: int = 40, sheet: Path | None = None
) -> list[Figure]:
    """A striped or checked thing is asked for in a mask on a wall."""

    def task(number: int) -> tuple:
        pattern = ("striped", "checked")[number % 2]
        scene = _one_shape(400 + number, size[0], pattern=pattern)
        mask = over_groups(mask_around(np.random.default_rng(number), covered(scene, size)))
        source = render(scene.without_shapes(), *size)
        return scene, scene.shapes[0].sentence(), source, mask, render(scene, *size)

    hits, hue = [], []
    for scene, _, mask, clip in draw_all(sampler, clips, task, sheet):
        middle = len(clip) // 2
        sight = look(clip[middle], mask[middle])
        hits.append(pattern_of(clip[middle], mask[middle]) == scene.shapes[0].pattern)
        hue.append(sight is not None and sight.colour == scene.shapes[0].colour)
    return [
        share(f"pattern right, {clips} prompts", hits, 75),
        share(f"hue of patterned things right, {clips} prompts", hue, 90),
    ]
