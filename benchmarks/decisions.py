# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m benchmarks.decisions [--clips 12]: the decision map against what the run really does.

On the bundled experts. What is undecided is measured by brute force: at the hand-over the run's
estimate is put under other noise four times and continued to the end; how far the four results lie
apart is the truth that signals have to foretell. Prints a table with the goals, met or not.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tools.train_nano.backgrounds import random_background
from tools.train_nano.world import Scene, caption, cover, random_shape, render
from wan_blender.core import job as jobs
from wan_blender.core.settings import Job, Prompt, Shot, Stage
from wan_blender.engine.conditioning import Scene as ShotScene
from wan_blender.engine.conditioning.text import guided_velocity
from wan_blender.engine.encode import encode_prompts, encode_source, make_conditions
from wan_blender.engine.fitting import Fitting
from wan_blender.engine.frames.files import write_png
from wan_blender.engine.insight.decisions import DecisionWatch, Signals
from wan_blender.engine.insight.diagnosis import (
    MASK,
    PLATE,
    QUANTILE,
    above,
    choose,
    judge,
    ranks,
    residual,
)
from wan_blender.engine.nano import VARIANTS
from wan_blender.engine.plan import make_plan
from wan_blender.engine.sample.loop import denoise, make_noise
from wan_blender.engine.sample.release import make_law
from wan_blender.engine.watch import Watch
from wan_blender.schedule.stages import StageSteps

SIZE = (9, 96, 96)
STEPS, GUIDANCE, SHIFT = 16, 3.0, 3.0
CONTINUATIONS = 4
STARVED = (8, 4, 2, 1)  # steps of the high-noise expert


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    goal: str
    measured: str
    met: bool


class Take:
    """A job of the bundled experts, ready to be sampled any number of times."""

    def __init__(
        self,
        folder: Path,
        frames: np.ndarray,
        mask: np.ndarray,
        words: str,
        seed: int,
        high: int = 0,
    ) -> None:
        """``frames`` (T, H, W, 3) in 0..1, ``mask`` (T, H, W) bool; ``high`` steps of the
        high-noise expert, where it is not the schedule's share."""
        _write(folder, frames, mask, words, seed, high)
        self.plan = make_plan(folder)
        watch = Watch(folder, lambda message: None, threading.Event())
        scene = ShotScene(self.plan.shot, self.plan.region, self.plan.job.model_mask, watch.check)
        self.fitting = Fitting(self.plan, watch.loading)
        self.text = encode_prompts(self.plan.bundle, self.plan.job.prompt)
        with watch.phase("encoding"):
            self.source = encode_source(self.plan, scene, watch)
        self.condition = make_conditions(self.plan, scene)[0]
        sigmas, job = self.plan.stages.sigmas, self.plan.job
        starts = [span.start for span in self.plan.stages.spans]
        self.law = make_law(
            job.mask.law, self.source.mask, sigmas, SHIFT, job.mask.softness, starts
        )

    @property
    def regions(self) -> dict[str, np.ndarray]:
        latent = self.plan.masks.latent
        return {MASK: latent > 0, PLATE: latent == 0}

    def predict(self, span: StageSteps, watched: DecisionWatch | None = None):
        """The model of ``span`` as ``denoise`` takes it."""
        transformer = self.fitting.models.use(span)

        def velocity(x, level, step):
            return guided_velocity(
                transformer, self.condition, self.text[0][0], self.text[1], span.guidance, x,
                level, range(x.shape[2]), see_branches=watched and watched.see_branches,
            )  # fmt: skip

        return velocity

    @torch.no_grad()
    def run(self, state=None, stop: int | None = None, watched: DecisionWatch | None = None):
        """The state at step ``stop``, or at the end."""
        sigmas, seed = self.plan.stages.sigmas, self.plan.job.sampling.seed
        stop = len(sigmas) - 1 if stop is None else stop
        for stage, span in enumerate(self.plan.stages.spans):
            if (state.step if state else 0) >= span.stop or span.start >= stop:
                continue
            model, on_step = self.predict(span, watched), _nothing
            if watched:
                on_step, model = watched.after(on_step, model), watched.watch(model, stage)
            end = min(span.stop, stop)
            state = denoise(model, self.source, sigmas, self.law, span.solver, seed, state, end,
                            on_step)  # fmt: skip
        return state

    def watched(self, probes: bool = True, salt: int = 0) -> DecisionWatch:
        boundary = self.plan.bundle.traits.boundary
        seed = self.plan.job.sampling.seed ^ salt
        return DecisionWatch(self.source, 0, self.plan.stages.sigmas, boundary, seed, probes)

    def signals(self) -> Signals:
        watched = self.watched()
        self.run(watched=watched)
        return watched.signals

    @torch.no_grad()
    def spread(self, signals: Signals) -> np.ndarray:
        """(t, h, w): deviation of the results over CONTINUATIONS, each from the high-noise
        expert's estimate at the hand-over under other noise."""
        step = signals.handover + 1
        sigma, state = self.plan.stages.sigmas[step], self.run(stop=step)
        x = torch.where(self.source.mask == 0, self.source.noised(sigma), state.x)
        x0 = x - sigma * self.predict(self.plan.stages.spans[0])(x, sigma, step - 1)
        ends = []
        for number in range(CONTINUATIONS):
            noise = make_noise(tuple(x0.shape), 7000 + number)
            ends.append(self.run(replace(state, x=(1 - sigma) * x0 + sigma * noise)).x)
        return torch.stack(ends).var(0).mean(1).sqrt()[0].numpy()


def _nothing(state) -> None:
    pass


def _write(
    folder: Path, frames: np.ndarray, mask: np.ndarray, words: str, seed: int, high: int
) -> None:
    count, height, width = mask.shape
    job = Job(Shot("clip", "Scene", width, height, 16, 1, 1, count, 1, 8), Prompt(words))
    job.model.path, job.region.mode = str(VARIANTS["experts"]), "whole"
    sampling = job.sampling
    sampling.seed, sampling.steps, sampling.guidance, sampling.shift = seed, STEPS, GUIDANCE, SHIFT
    if high:
        job.stages = [
            Stage("high", expert="high", steps=high, end=0.875),
            Stage("low", expert="low"),
        ]
    for kind, stack in ((jobs.PLATE, (frames * 255).round().astype(np.uint8)),
                        (jobs.MASK, mask.astype(np.uint16) * 65535)):  # fmt: skip
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for index, picture in enumerate(stack):
            write_png(folder / kind / jobs.frame_name(index), picture)
    jobs.create(folder, job)


def crossing(seed: int) -> tuple[np.ndarray, np.ndarray, str, np.ndarray]:
    """Frames, mask, caption and the pixels (T, H, W) of each of two things that cross."""
    rng = np.random.default_rng(seed)
    frames = SIZE[0]
    ground = random_background(rng, frames)
    ways = ("right", "left") if seed % 2 else ("down", "up")
    shapes = tuple(random_shape(rng, frames, direction=way) for way in ways)
    scene = Scene(ground, shapes)
    mask = np.zeros(SIZE, bool)
    mask[:, 12:84, 20:80] = True
    things = np.stack([
        [cover(shape, i / (frames - 1), *SIZE[1:])[0] > 0.5 for i in range(frames)]
        for shape in shapes
    ])  # fmt: skip
    return render(scene, *SIZE), mask, caption(scene, rng), things


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def partial_spearman(a: np.ndarray, b: np.ndarray, held: np.ndarray) -> float:
    """Spearman's correlation of ``a`` and ``b`` with ``held`` held."""
    ab, ah, bh = spearman(a, b), spearman(a, held), spearman(b, held)
    return (ab - ah * bh) / np.sqrt((1 - ah**2) * (1 - bh**2))


def area_under(score: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve of ``score`` for bool ``truth``."""
    order = ranks(score)
    positive = int(truth.sum())
    rest = len(truth) - positive
    return float((order[truth].sum() - positive * (positive - 1) / 2) / max(positive * rest, 1))


def kendall(levels: Iterable[float], values: Iterable[float]) -> float:
    """Kendall's tau-a of two short series."""
    pairs = list(zip(levels, values))
    signs = [np.sign((b[0] - a[0]) * (b[1] - a[1])) for a, b in itertools.combinations(pairs, 2)]
    return float(np.mean(signs))


def foretelling(seeds: Iterable[int], room: Path) -> Iterator[Row]:
    """Signals at the hand-over against the spread of the results: over all cells, and within the
    mask, where telling the mask from the plate does not help."""
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for seed in seeds:
        frames, mask, words, _ = crossing(seed)
        take = Take(room / f"spread{seed}", frames, mask, words, seed)
        signals = take.signals()
        at, truth, energy = signals.handover, take.spread(signals), signals.probe_energy
        kept = {"probe": signals.probe, "drift": signals.drift[at], "gap": signals.gap[at]}
        inside = take.regions[MASK]
        for where, cells in (("all cells", np.ones_like(inside)), ("mask", inside)):
            spread, content = truth[cells], energy[cells].astype(float)
            wide = spread > np.quantile(spread, 0.75)
            alone = area_under(content, wide)
            for name, signal in kept.items():
                values = signal[cells].astype(float)
                line = (spearman(values, spread), partial_spearman(values, spread, content),
                        area_under(values, wide) - alone)  # fmt: skip
                found.setdefault((name, where), []).append(line)
    for (name, where), values in found.items():
        plain, whole, gain = np.mean(values, 0)
        yield Row(f"{name}, {where}: Spearman with the spread, energy held", ">= .60",
                  f"{whole:.2f} (plain {plain:.2f})", bool(whole >= 0.6))  # fmt: skip
        yield Row(f"{name}, {where}: AUC for the widest quarter, over energy alone", ">= +.02",
                  f"{gain:+.3f}", bool(gain >= 0.02))  # fmt: skip


def starving(seeds: Iterable[int], room: Path) -> list[Row]:
    """Fewer steps of the high-noise expert: more must be undecided at its end."""
    shares = []
    for seed in seeds:
        frames, mask, words, _ = crossing(seed)
        line = []
        for high in STARVED:
            take = Take(room / f"starved{seed}-{high}", frames, mask, words, seed, high)
            decisions, _ = judge(take.signals(), take.regions)
            mask_region = decisions.regions[0]
            line.append((mask_region.undecided, mask_region.detail, mask_region.late))
        shares.append(line)
    table = np.array(shares, float)
    rows = []
    for index, (what, sign) in enumerate((("undecided", 1), ("detail", -1), ("late", 1))):
        values = table[..., index]
        mean = values.mean(0)
        tau = kendall(range(len(STARVED)), sign * mean)
        each = np.mean([kendall(range(len(STARVED)), sign * line) for line in values])
        said = " ".join(f"{value:.2f}" for value in mean)
        rows.append(Row(f"{what} over {STARVED} high-noise steps, Kendall", ">= .9",
                        f"{tau:.2f}, clip by clip {each:.2f} ({said})", tau >= 0.9))  # fmt: skip
    return rows


def planted(seeds: Iterable[int], room: Path) -> list[Row]:
    """Two still things, both masked in the middle of the clip; one is also masked on all other
    frames, so nothing shows what it is. That one is undecided."""
    areas, energies, flagged = [], [], []
    for seed in seeds:
        frames, mask, words, hidden = _half_hidden(seed)
        take = Take(room / f"planted{seed}", frames, mask, words, seed)
        signals = take.signals()
        _, signal, energy = choose(signals)
        latent, plate = take.regions[MASK], take.regions[PLATE]
        truth = np.broadcast_to(hidden, latent.shape)
        middle = latent.copy()
        middle[[0, 2]] = False
        left = residual(signal, energy, plate)
        areas.append(area_under(left[middle], truth[middle]))
        energies.append(area_under(energy[middle], truth[middle]))
        score = above(left, plate) > QUANTILE
        flagged.append([score[middle & truth].mean(), score[middle & ~truth].mean()])
    mean, (there, other) = float(np.mean(areas)), np.mean(flagged, 0)
    return [
        Row("planted region (one of two things never shown), AUC", ">= .90",
            f"{mean:.3f} (energy alone {np.mean(energies):.3f}; flagged {there:.0%} and "
            f"{other:.0%})", mean >= 0.9),
    ]  # fmt: skip


def _half_hidden(seed: int) -> tuple[np.ndarray, np.ndarray, str, np.ndarray]:
    """Frames, mask, caption, and which latent columns (w,) belong to the hidden one."""
    rng = np.random.default_rng(seed)
    shapes = tuple(
        replace(random_shape(rng, SIZE[0]), centre=(x, 0.5), travel=(0.0, 0.0), spin=0.0,
                growth=0.0, radius=0.16, act="stays still") for x in (0.27, 0.73)
    )  # fmt: skip
    ground = replace(random_background(rng, SIZE[0]), pan=(0.0, 0.0), pan_word="")
    scene, side = Scene(ground, shapes), seed % 2
    mask = np.zeros(SIZE, bool)
    mask[1:5, 24:72, 8:88] = True
    mask[:, 24:72, 48 * side : 48 * side + 48] = True
    return render(scene, *SIZE), mask, caption(scene, rng), np.arange(12) // 6 == side


def textured_plate(seeds: Iterable[int], room: Path) -> list[Row]:
    """The plate's textured cells must not be flagged for their texture: 5 % are, of all of it."""
    shares = []
    for seed in seeds:
        frames, mask, words, _ = crossing(seed)
        half = frames.copy()
        rng = np.random.default_rng(seed)
        half[:, :, 48:] = (half[:, :, 48:] + 0.12 * rng.normal(size=(1, 96, 48, 1))).clip(0, 1)
        take = Take(room / f"textured{seed}", half, mask, words, seed)
        signals = take.signals()
        plate = take.regions[PLATE]
        _, signal, energy = choose(signals)
        score = above(residual(signal, energy, plate), plate)
        right = np.zeros_like(plate)
        right[:, :, 6:] = True
        shares.append(float((score > QUANTILE)[plate & right].mean()))
    share = float(np.mean(shares))
    return [
        Row("textured half of the plate that is flagged", "<= 10 %", f"{share:.1%}", share <= 0.1)
    ]


def campaign(clips: int) -> Iterator[Row]:
    """The table's rows, over that many clips."""
    seeds = range(100, 100 + clips)
    with tempfile.TemporaryDirectory() as room:
        for part in (foretelling, starving, planted, textured_plate):
            yield from part(seeds, Path(room))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=12)
    missed = False
    print("| what | goal | measured | |\n|---|---|---|---|")
    for row in campaign(parser.parse_args(arguments).clips):
        missed |= not row.met
        print(f"| {row.what} | {row.goal} | {row.measured} | {'' if row.met else 'missed'} |",
              flush=True)  # fmt: skip
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
