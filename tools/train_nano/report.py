# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the bundled model on held-out seeds: `python -m tools.train_nano report`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

from .backgrounds import random_background
from .clips import covered
from .continuity import (
    BATCH,
    HELD_OUT,
    Figure,
    bridge,
    first_last,
    patterns,
    restyle,
    structure,
    words_alone,
)
from .examples import FULL
from .latents import Codec, as_pixels
from .masks import mask_around
from .sample import Sampler, write_sheet
from .ship import TARGET
from .transformer import BOUNDARY
from .vision import grain, look, moved, psnr
from .world import DIRECTIONS, HUES, Scene, random_scene, random_shape, render

CARD = Path("docs/model_card.md")


def shipped_codec(folder: Path = TARGET) -> Codec:
    base = folder / "base"
    return Codec(
        AutoencoderKLWan.from_pretrained(base / "vae").float(),
        PreTrainedTokenizerFast.from_pretrained(base / "tokenizer"),
        UMT5EncoderModel.from_pretrained(base / "text_encoder").float(),
    )


def shipped_sampler(variant: str, folder: Path = TARGET) -> Sampler:
    """The sampler of one shipped variant: "vace", "i2v" or "experts"."""
    codec = shipped_codec(folder)
    if variant == "i2v":
        path = folder / "i2v" / "transformer"
        return Sampler(codec, WanTransformer3DModel.from_pretrained(path).float())
    model = WanVACETransformer3DModel.from_pretrained(folder / "vace" / "transformer").float()
    if variant == "vace":
        return Sampler(codec, model)
    low = WanVACETransformer3DModel.from_pretrained(folder / "experts" / "transformer_2").float()
    return Sampler(codec, model, low, BOUNDARY)


def reconstruction(
    sampler: Sampler, size: tuple[int, int, int], clips: int = 24, sheet: Path | None = None
) -> Figure:
    """PSNR of encode and decode, mean over clips of the largest size."""
    codec, values = sampler.codec, []
    for seed in range(clips):
        rng = np.random.default_rng(HELD_OUT + seed)
        clip = render(random_scene(rng, FULL[0]), *FULL)
        decoded = codec.decode(codec.encode(as_pixels(clip)[None]))[0]
        values.append(psnr((decoded.permute(1, 2, 3, 0).numpy() + 1) / 2, clip))
    mean = float(np.mean(values))
    return Figure(
        "VAE reconstruction of 17 frames at 128x128, PSNR", f"{mean:.1f} dB", ">= 28 dB", mean >= 28
    )


def obedience(
    sampler: Sampler, size: tuple[int, int, int], prompts: int = 200, sheet: Path | None = None
) -> list[Figure]:
    """Replace one shape by another that the prompt names, in a mask around the new one's place."""
    hue = kind = 0
    rows = []
    for start in range(0, prompts, BATCH):
        tasks = [_swap(start + i, size) for i in range(min(BATCH, prompts - start))]
        wanted, captions, sources, masks = zip(*tasks, strict=True)
        clips = sampler.inpaint(list(captions), list(sources), list(masks), seed=start)
        for shape, source, mask, clip in zip(wanted, sources, masks, clips, strict=True):
            middle = len(clip) // 2
            sight = look(clip[middle], mask[middle])
            hue += sight is not None and sight.colour == shape.colour
            kind += sight is not None and sight.kind == shape.kind
            rows.append([source, np.repeat(mask[..., None], 3, axis=-1), clip])
    if sheet:
        write_sheet(sheet, rows[:12])
    return [
        Figure(
            f"hue right inside the mask, {prompts} prompts",
            f"{100 * hue / prompts:.1f} %",
            ">= 90 %",
            hue >= 0.9 * prompts,
        ),
        Figure(
            f"shape right inside the mask, {prompts} prompts",
            f"{100 * kind / prompts:.1f} %",
            ">= 85 %",
            kind >= 0.85 * prompts,
        ),
    ]


def removal(
    sampler: Sampler, size: tuple[int, int, int], clips: int = 40, sheet: Path | None = None
) -> Figure:
    """An empty background is asked for over a shape; nothing of strong colour may be left."""
    gone = 0
    rows = []
    for start in range(0, clips, BATCH):
        sources, masks = [], []
        for i in range(BATCH):
            rng = np.random.default_rng(HELD_OUT + 2000 + start + i)
            scene = Scene(random_background(rng, size[0]), (random_shape(rng, size[0]),))
            sources.append(render(scene, *size))
            masks.append(mask_around(rng, covered(scene, size)))
        drawn = sampler.inpaint(["empty background"] * BATCH, sources, masks, seed=start)
        for source, mask, clip in zip(sources, masks, drawn, strict=True):
            gone += all(look(frame) is None for frame in clip[:: max(1, len(clip) // 4)])
            rows.append([source, np.repeat(mask[..., None], 3, axis=-1), clip])
    if sheet:
        write_sheet(sheet, rows[:12])
    share = gone / clips
    return Figure("removal leaves no object", f"{100 * share:.0f} %", "100 %", gone == clips)


def animation(
    sampler: Sampler, size: tuple[int, int, int], clips: int = 40, sheet: Path | None = None
) -> list[Figure]:
    """Start frames with one shape, prompts with a direction: is frame 0 kept, is the way right?"""
    values, right, rows = [], 0, []
    for start in range(0, clips, BATCH):
        captions, firsts, ways, truths = [], [], [], []
        for i in range(BATCH):
            rng = np.random.default_rng(HELD_OUT + 4000 + start + i)
            way = list(DIRECTIONS)[(start + i) % 4]
            scene = Scene(
                random_background(rng, size[0]), (random_shape(rng, size[0], direction=way),)
            )
            truth = render(scene, *size)
            captions.append(scene.shapes[0].sentence())
            firsts.append(truth[0])
            truths.append(truth)
            ways.append(way)
        drawn = sampler.animate(captions, firsts, size[0], seed=start)
        for clip, first, way, truth in zip(drawn, firsts, ways, truths, strict=True):
            values.append(psnr(clip[0], first))
            right += moved(clip) == way
            rows.append([truth, clip])
    if sheet:
        write_sheet(sheet, rows[:12])
    mean = float(np.mean(values))
    return [
        Figure("image-to-video keeps frame 0, PSNR", f"{mean:.1f} dB", ">= 26 dB", mean >= 26),
        Figure(
            "image-to-video moves the right way",
            f"{100 * right / clips:.0f} %",
            ">= 80 %",
            right >= 0.8 * clips,
        ),
    ]


def speed(
    sampler: Sampler, size: tuple[int, int, int], clips: int = 1, sheet: Path | None = None
) -> Figure:
    """Processor seconds, one thread, for a clip of 17 frames at 128x128 in 20 steps with guidance.

    Not wall clock: that would measure what else the machine is doing. Two idle cores are faster.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    started = time.process_time()
    sampler.draw(["a red ball moves left"], None, FULL, seed=0)
    seconds = time.process_time() - started
    torch.set_num_threads(threads)
    what = "17 frames, 128x128, 20 steps: processor seconds, one thread"
    return Figure(what, f"{seconds:.1f} s", "< 20 s", seconds < 20)


def split(
    sampler: Sampler, size: tuple[int, int, int], clips: int = 8, sheet: Path | None = None
) -> Figure:
    """Grain of clips whose second half starts at the wrong sigma, over that of right ones."""
    _, captions, sources, masks = zip(*(_swap(500 + i, size) for i in range(clips)), strict=True)
    context = sampler.context(list(sources), list(masks))
    right, wrong = (
        sampler.draw(list(captions), context, size, seed=1, jump=jump)
        for jump in (None, (0.7, 0.2))
    )
    ratio = float(np.mean([grain(c) for c in wrong]) / np.mean([grain(c) for c in right]))
    return Figure("grain after a wrong split, over a right one", f"{ratio:.2f}", "> 1", ratio > 1)


def _swap(number: int, size: tuple[int, int, int]) -> tuple:
    """The wanted shape, the caption, the source with another shape in its place, and the mask."""
    rng = np.random.default_rng(HELD_OUT + 1000 + number)
    ground = random_background(rng, size[0])
    wanted = random_shape(rng, size[0], colour=list(HUES)[number % len(HUES)], pattern="")
    other = [name for name in HUES if name != wanted.colour]
    old = replace(random_shape(rng, size[0], colour=str(rng.choice(other))), centre=wanted.centre)
    mask = mask_around(rng, covered(Scene(ground, (wanted, old)), size))
    return wanted, wanted.sentence(), render(Scene(ground, (old,)), *size), mask


def report(
    folder: Path, size: tuple[int, int, int], share: float, sheets: Path, only: str = ""
) -> list[Figure]:
    """All figures that the shipped variants allow; `share` scales the number of clips, `only` names
    measures, such as "structure,bridge"."""

    def count(full: int) -> int:
        return max(BATCH, round(full * share / BATCH) * BATCH)

    figures = []
    for variant, measure, clips in MEASURES:
        name = measure.__name__
        shipped = (folder / variant / "model_index.json").exists()
        if not shipped or (only and name not in only.split(",")):
            continue
        sampler = shipped_sampler(variant, folder)
        found = measure(sampler, size, count(clips), sheets / f"{variant}_{name}.png")
        found = found if isinstance(found, list) else [found]
        if variant == "experts":
            found = [replace(one, what=f"experts: {one.what}", met=None) for one in found]
        for figure in found:
            print(f"{figure.what}: {figure.measured}", flush=True)
        figures += found
    return figures


# variant, measure, clips
MEASURES: tuple[tuple[str, Callable[..., Figure | list[Figure]], int], ...] = (
    ("vace", reconstruction, 24),
    ("vace", speed, 1),
    ("vace", structure, 100),
    ("vace", bridge, 24),
    ("vace", first_last, 24),
    ("i2v", first_last, 24),
    ("vace", words_alone, 40),
    ("vace", restyle, 40),
    ("vace", patterns, 40),
    ("vace", removal, 40),
    ("vace", split, 8),
    ("i2v", animation, 40),
    ("vace", obedience, 200),
    ("experts", obedience, 40),
    ("experts", structure, 40),
)


def as_table(figures: list[Figure], size: tuple[int, int, int]) -> str:
    frames, height, width = size
    marks = {True: "yes", False: "**no**", None: ""}
    lines = [f"Clips of {frames} frames at {width}x{height}, 20 steps.", ""]
    lines += ["| figure | measured | wanted | met |", "|---|---|---|---|"]
    lines += [f"| {f.what} | {f.measured} | {f.wanted} | {marks[f.met]} |" for f in figures]
    return "\n".join(lines)


def write_card(table: str, card: Path = CARD) -> None:
    """Put the table between the card's two marks."""
    text = card.read_text(encoding="utf-8")
    block = f"<!-- figures -->\n{table}\n<!-- end of figures -->"
    text = re.sub(r"<!-- figures -->.*?<!-- end of figures -->", lambda _: block, text, flags=re.S)
    card.write_text(text, encoding="utf-8")
