# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m benchmarks.settledness [--seeds 20]: settledness against clips whose truth is known.

Prints a table: what was asked, the goal and what was measured. Exits with 1 where one is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tools.insight_set.truth import BEAT, DECOYS, Take, render
from wan_blender.engine.frames.seams import ring_around
from wan_blender.engine.insight.settledness import CRAWLS, RING, RegionCurve, measure

SHARES = (0.0, 0.1, 0.2, 0.4, 0.8)  # of the texture that is new in each frame
UNSETTLED = 0.4  # the share that decoys are told from
RING_PX = 24


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    goal: str
    measured: str
    met: bool


def curve_of(take: Take) -> RegionCurve:
    """What is said of the thing in the clip of ``take``."""
    truth = render(take)
    pairs = zip(truth.frames, truth.masks)
    frames = ((f, {"mask": m, RING: ring_around(m, RING_PX)}) for f, m in pairs)
    return measure(frames)[0].regions[0]


def campaign(seeds: Iterable[int], decoys: Iterable[str] = DECOYS) -> Iterator[Row]:
    """The table's rows, over clips of each seed."""
    seeds = list(seeds)
    yield from _levels(seeds)
    for decoy in decoys:
        yield from _decoy(seeds, decoy)
    yield from _events(seeds)


def _levels(seeds: list[int]) -> list[Row]:
    means = np.array([[_mean(Take(seed, reseeded=share)) for share in SHARES] for seed in seeds])
    falls = float((np.diff(means, axis=1) < 0).all(1).mean())
    said = " ".join(f"{value:.2f}" for value in means.mean(0))
    return [
        Row("texture fixed to the thing, s, worst clip", ">= .90", f"{means[:, 0].min():.3f}",
            bool(means[:, 0].min() >= 0.9)),
        Row(f"s falls over {SHARES}, clips", "all", f"{falls:.0%} (means {said})", falls == 1),
    ]  # fmt: skip


def _mean(take: Take) -> float:
    """Mean s of a clip; one about which nothing can be said counts as settled."""
    mean = curve_of(take).mean
    return 1.0 if mean is None else mean


def _decoy(seeds: list[int], decoy: str) -> list[Row]:
    calm = [curve_of(Take(seed, decoy)) for seed in seeds]
    crawling = [_mean(Take(seed, decoy, UNSETTLED)) for seed in seeds]
    area = area_under([1.0 if c.mean is None else c.mean for c in calm], crawling)
    values = [v for c in calm for v in c.settled[1:]]
    flagged = np.mean([v is not None and v < CRAWLS for v in values])
    silent = np.mean([v is None for v in values])
    events = np.mean([bool(c.blinks or c.beats) for c in calm])
    return [
        Row(f"{decoy}: AUC against {UNSETTLED:.0%} new", ">= .95", f"{area:.3f}", area >= 0.95),
        Row(f"{decoy}: frames said to crawl", "<= 5 %",
            f"{flagged:.1%} (cannot say {silent:.0%})", bool(flagged <= 0.05)),
        Row(f"{decoy}: clips with a false blink or beat", "<= 5 %", f"{events:.0%}",
            bool(events <= 0.05)),
    ]  # fmt: skip


def _events(seeds: list[int]) -> list[Row]:
    blinks = [curve_of(Take(seed, becomes=4 + seed % 6)).blinks for seed in seeds]
    near = [len(b) == 1 and abs(b[0] - 4 - s % 6) <= 1 for s, b in zip(seeds, blinks)]
    beats = [curve_of(Take(seed, reseeded=0.3, only_at=BEAT, frames=25)).beats for seed in seeds]
    steady = [curve_of(Take(seed, reseeded=0.3, frames=25)).beats for seed in seeds]
    back = [
        [curve_of(Take(s, hidden=(4, 7), returns_different=d)).returns for s in seeds]
        for d in (False, True)
    ]
    told = [[len(r) == 1 and r[0].differs for r in group] for group in back]
    lines = (
        ("blink found within 1 frame, and no other", "all", near, 1.0),
        ("beat of latent groups found", "all", beats, 1.0),
        ("beat where every frame crawls", "<= 5 %", steady, 0.05),
        ("the same after an occlusion, said to differ", "<= 5 %", told[0], 0.05),
        ("another one after it, said to differ", "all", told[1], 1.0),
    )
    return [
        Row(what, goal, f"{np.mean(found):.0%}",
            bool(np.mean(found) >= limit if goal == "all" else np.mean(found) <= limit))
        for what, goal, found, limit in lines
    ]  # fmt: skip


def area_under(high: list[float], low: list[float]) -> float:
    """Area under the ROC curve: the chance that one of ``high`` is above one of ``low``."""
    a, b = np.array(high)[:, None], np.array(low)[None]
    return float(((a > b) + 0.5 * (a == b)).mean())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    missed = False
    print("| what | goal | measured | |\n|---|---|---|---|")
    for row in campaign(range(parser.parse_args(arguments).seeds)):
        missed |= not row.met
        print(f"| {row.what} | {row.goal} | {row.measured} | {'' if row.met else 'missed'} |",
              flush=True)  # fmt: skip
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
