# SPDX-License-Identifier: GPL-3.0-or-later
"""Structured walls from under a thing that is taken away: coherent noise against the run's own.

The bundled models through the engine's own loop, at equal model evaluations. Figures are dB in the
mask against the true wall, means over walls and noise seeds. Beside them the same clips by OpenCV's
inpainting, and with the mask packed by trilinear interpolation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from tools.train_nano.backgrounds import random_background
from tools.train_nano.clips import covered
from tools.train_nano.continuity import HELD_OUT
from tools.train_nano.latents import as_pixels, image_condition
from tools.train_nano.masks import mask_around, over_groups
from tools.train_nano.report import shipped_sampler
from tools.train_nano.sample import GUIDANCE, Sampler
from tools.train_nano.vision import psnr
from tools.train_nano.world import Scene, random_shape, render
from wan_blender.engine.sample.loop import Coherence, MaskedSource, Predict, denoise
from wan_blender.engine.sample.release import make_law
from wan_blender.masks.grid import Grid
from wan_blender.masks.reduce import to_latent
from wan_blender.schedule.noise import make_sigmas

from .langevin import inner_steps

SIZE = (9, 64, 64)
SHIFT = 3.0
TEXTURES = ("striped", "checked", "woven", "cloudy")
Tensor = torch.Tensor


@dataclass(frozen=True)
class Way:
    """``steps`` of a ``solver``; ``coherent`` is the part of them with coherent noise, ``inner``
    Langevin steps before each."""

    name: str
    steps: int
    solver: str = "euler"
    coherent: float = 0.0
    inner: int = 0
    reduction: str = "max"

    @property
    def evaluations(self) -> int:
        """The first step starts from pure noise, where nothing is to be made coherent."""
        return self.steps + max(round(self.coherent * self.steps) - 1, 0) + self.inner * self.steps


WAYS = (
    Way("replacement", 39),
    Way("coherent", 20, coherent=1),
    Way("coherent, first half of the steps", 26, coherent=0.5),
    Way("replacement, euler_ancestral", 39, "euler_ancestral"),
    Way("coherent, euler_ancestral", 20, "euler_ancestral", 1),
    Way("two inner Langevin steps (LanPaint)", 13, inner=2),
    Way("replacement, mask packed trilinearly", 39, reduction="comfy_trilinear"),
)


@dataclass(frozen=True)
class Walls:
    """``sources`` with a thing, ``truths`` without, ``masks`` (T, H, W) around it."""

    sources: list[np.ndarray]
    truths: list[np.ndarray]
    masks: list[np.ndarray]


def draw_walls(count: int, keeps_first: bool) -> Walls:
    """With ``keeps_first`` the thing is not there on the first frame, which is kept whole: what a
    model that animates a picture is given."""
    walls = Walls([], [], [])
    for number in range(count):
        rng = np.random.default_rng(HELD_OUT + 10_000 + number)
        wall = random_background(rng, SIZE[0], TEXTURES[number % len(TEXTURES)])
        scene = Scene(wall, (random_shape(rng, SIZE[0]),))
        mask = (over_groups(mask_around(rng, covered(scene, SIZE))) > 0.5).astype(np.float32)
        truth, source = render(scene.without_shapes(), *SIZE), render(scene, *SIZE)
        if keeps_first:
            mask[0], source[0] = 0, truth[0]
        walls.sources.append(source)
        walls.truths.append(truth)
        walls.masks.append(mask)
    return walls


@torch.no_grad()
def compare(variant: str, count: int, seeds: int, ways: tuple[Way, ...] = WAYS) -> list[str]:
    """Lines of a Markdown table for one of the bundled models."""
    sampler, walls = shipped_sampler(variant), draw_walls(count, variant == "i2v")
    found = {way.name: _levels(sampler, walls, way, seeds) for way in ways}
    base = found[ways[0].name]
    lines = [_line(way.name, way.evaluations, found[way.name], base) for way in ways]
    for name, how in (("OpenCV Telea", cv2.INPAINT_TELEA), ("OpenCV NS", cv2.INPAINT_NS)):
        level = np.tile(_in_mask(_painted(walls, how), walls), seeds)
        lines.append(_line(name, 0, level, base))
    return [f"| {variant} | {line}" for line in lines]


def _line(name: str, evaluations: int, level: np.ndarray, base: np.ndarray) -> str:
    more = level - base
    return (
        f"{name} | {evaluations} | {level.mean():.2f} | {more.mean():+.2f} | "
        f"{np.median(more):+.2f} | {100 * (more > 0).mean():.0f} % |"
    )


def _in_mask(clips: Iterable[np.ndarray], walls: Walls) -> list[float]:
    return [psnr(c[m > 0.5], t[m > 0.5]) for c, t, m in zip(clips, walls.truths, walls.masks)]


def _painted(walls: Walls, how: int) -> list[np.ndarray]:
    clips = []
    for source, mask in zip(walls.sources, walls.masks):
        frames = [
            cv2.inpaint(np.rint(f * 255).astype(np.uint8), (m > 0.5).astype(np.uint8), 3, how)
            for f, m in zip(source, mask)
        ]
        clips.append(np.stack(frames).astype(np.float32) / 255)
    return clips


def _levels(sampler: Sampler, walls: Walls, way: Way, seeds: int) -> np.ndarray:
    """dB in the mask of each wall and seed."""
    predict, z = _model(sampler, walls)
    grid = Grid(*SIZE)
    cells = np.stack([to_latent(mask, grid, way.reduction) for mask in walls.masks])
    mask = torch.from_numpy(cells).float()[:, None]
    levels = []
    for seed in range(seeds):
        noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed))
        x = draw(predict, MaskedSource(z, noise, mask), way, seed)
        clips = (sampler.codec.decode(x).permute(0, 2, 3, 4, 1).numpy() + 1) / 2
        levels += _in_mask(clips, walls)
    return np.array(levels)


def draw(predict: Predict, source: MaskedSource, way: Way, seed: int) -> Tensor:
    sigmas = make_sigmas("shifted", way.steps, SHIFT).tolist()
    law = make_law("static" if way.reduction != "max" else "release", source.mask, sigmas, SHIFT)
    if way.inner:
        return inner_steps(predict, source, sigmas, way.inner, seed)
    coherence = Coherence(predict, range(round(way.coherent * way.steps)))
    return denoise(predict, source, sigmas, law, way.solver, seed, coherence=coherence).x


def _model(sampler: Sampler, walls: Walls) -> tuple[Predict, Tensor]:
    """Guided velocity for all walls at once, and their clean latents."""
    clips = torch.stack([as_pixels(source) for source in walls.sources])
    if walls.masks[0][0].any():
        condition = sampler.context(walls.sources, walls.masks)
    else:
        known = torch.zeros(SIZE[0])
        known[0] = 1
        condition = image_condition(sampler.codec, clips, known)
    words = sampler.codec.text(["empty background"] * len(clips))
    text = torch.cat([words, sampler.no_text.expand(len(clips), -1, -1)])

    def predict(x: Tensor, sigma: float | Tensor, step: int) -> Tensor:
        return sampler.velocity(x, float(sigma), text, condition, GUIDANCE)

    return predict, sampler.codec.encode(clips)
