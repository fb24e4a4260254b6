# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the bundled model further, in calls of a few minutes, on a card or on the processor.

Each call goes on where the last one stopped or was killed: it takes the shipped weights over when
the folder is new, makes examples beside the training, and trains `vace`, then `image`, then `low`
until each has had its budget. Nothing is fetched.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.multiprocessing

from .device import DEVICE
from .examples import make_examples
from .report import report
from .ship import adopt, ship
from .transformer import train_variant

# minutes of work on one core, or on a card
BUDGETS = {"vace": 60.0, "image": 12.0, "low": 8.0}
MOST = {"vace": 600, "image": 96}  # chunks of examples
_FIRST = 8  # chunks to begin with


def train_course(
    folder: Path, minutes: float, scale: float = 1.0, share: float = 0.0, helpers: int = 1
) -> bool:
    """Train for `minutes` of wall clock; True when every budget, times `scale`, is spent.

    With a `share` above 0 the last third of the time is kept for the report on that share of its
    clips, which goes to `figures.json`.
    """
    end = time.monotonic() + 60 * minutes * (2 / 3 if share else 1)
    if not (folder / "adopted").exists():
        adopt(folder)
        (folder / "adopted").touch()
    done = False
    for name, budget in BUDGETS.items():
        done = _train(name, folder, budget * scale, end, helpers)
        if not done:
            break
    if share:
        _evaluate(folder, share)
    return done


def _train(name: str, folder: Path, budget: float, end: float, helpers: int) -> bool:
    """One variant, with makers of its examples beside it; True when its budget is spent."""
    kind = "image" if name == "image" else "vace"
    place = folder / "examples" / kind
    left = (end - time.monotonic()) / 60
    wanted = MOST[kind] - len(list(place.glob("*.safetensors")))
    if left <= 0:
        return False
    makers = 0 if wanted <= 0 else max(1, (os.cpu_count() or 2) // 2) if _on_card() else 1
    spawn = torch.multiprocessing.get_context("spawn")
    team = [
        spawn.Process(target=_make, daemon=True, args=(folder, kind, left, at, makers, MOST[kind]))
        for at in range(makers)
    ]
    for maker in team:
        maker.start()
    while time.monotonic() < end and len(list(place.glob("*.safetensors"))) < _FIRST:
        time.sleep(1)
    left = (end - time.monotonic()) / 60
    # what makes examples has the second core
    spent = train_variant(name, folder, budget, 0 if makers else helpers, left)
    for maker in team:
        maker.terminate()
        maker.join()
    return spent


def _make(folder: Path, kind: str, minutes: float, maker: int, makers: int, most: int) -> None:
    torch.set_num_threads(1)
    make_examples(folder, kind, minutes, maker=maker, makers=makers, most=most)


def _on_card() -> bool:
    return DEVICE.type == "cuda"


def _evaluate(folder: Path, share: float) -> None:
    """The report on what is trained so far, printed and kept."""
    candidate = folder / "candidate"
    ship(folder, candidate)
    found = report(candidate, (9, 128, 128), share, folder / "sheets")
    figures = [asdict(figure) for figure in found]
    partial = folder / "figures.partial"
    partial.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    partial.replace(folder / "figures.json")
