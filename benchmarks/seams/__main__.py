# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m benchmarks.seams [PART ...]: the figures of docs/seams.md, as Markdown.

Parts: walls, offsets, scores, cuts; all of them without a name. One core, half an hour; WALLS=4
SEEDS=1 is a short form.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable

import torch

from . import cuts, offsets, scores, walls

WALLS, SEEDS = int(os.environ.get("WALLS", 16)), int(os.environ.get("SEEDS", 3))


def coherent() -> Iterable[str]:
    yield f"{WALLS} walls, {SEEDS} noise seeds, {walls.SIZE[0]} frames at {walls.SIZE[2]}x" + (
        f"{walls.SIZE[1]}; dB in the mask against the true wall."
    )
    yield "| model | way | model evaluations | dB | more, mean | more, median | better |"
    yield "|---" * 7 + "|"
    for variant in ("vace", "i2v"):
        yield from walls.compare(variant, WALLS, SEEDS)


PARTS: dict[str, Callable[[], Iterable[str]]] = {
    "walls": coherent,
    "offsets": lambda: offsets.table(WALLS),
    "scores": lambda: scores.table(WALLS),
    "cuts": lambda: cuts.table(WALLS),
}


def main(*names: str) -> int:
    torch.set_num_threads(1)
    for name in names or PARTS:
        print(f"\n### {name}\n")
        for line in PARTS[name]():
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
