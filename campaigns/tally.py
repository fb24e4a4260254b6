# SPDX-License-Identifier: GPL-3.0-or-later
"""What a campaign has tried so far: counted, kept in a file, and told as a row of a table.

A try is known by its number: the same number with the same seed is the same try. A campaign that
was killed goes on behind the last try that it noted; tries that broke a promise are made again
first, so that what was mended is seen to hold."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from wan_blender.core.files import read_json, write_json

SAVE_S = 2.0


class Broken(AssertionError):
    """A try that broke the campaign's promise; says how."""


@dataclass
class Outcome:
    """``kind`` is counted; of each of ``worst`` the largest is kept."""

    kind: str
    worst: dict[str, float] = field(default_factory=dict)


Attempt = Callable[[int, random.Random], Outcome]


class Campaign(Protocol):
    """A module of this package. ``attempts(work)`` opens what the tries share."""

    COUNT: int
    PROMISE: str
    MEANS: str  # what is real in it and what stands in

    def attempts(self, work: Path) -> AbstractContextManager[Attempt]: ...


@dataclass
class Tally:
    """``mended`` counts tries that broke the promise once and keep it now."""

    seed: int = 0
    done: int = 0
    seconds: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    worst: dict[str, float] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)  # number of the try -> how
    mended: int = 0

    def add(self, outcome: Outcome) -> None:
        self.kinds[outcome.kind] = self.kinds.get(outcome.kind, 0) + 1
        for name, value in outcome.worst.items():
            self.worst[name] = max(self.worst.get(name, value), value)


def load(path: Path, seed: int) -> Tally:
    """The tally in ``path``; a fresh one where there is none, or one of another seed."""
    try:
        kept = Tally(**read_json(path))
    except (OSError, ValueError, TypeError):
        return Tally(seed)
    return kept if kept.seed == seed else Tally(seed)


def run(
    name: str,
    campaign: Campaign,
    work: Path,
    seed: int = 0,
    count: int = 0,
    minutes: float = 0.0,
) -> Tally:
    """Try until ``count`` tries are made in all, or for ``minutes``; 0 is the campaign's own count,
    and no limit. The tally is kept in ``work``/NAME.json."""
    path, count = work / f"{name}.json", count or campaign.COUNT
    work.mkdir(parents=True, exist_ok=True)
    tally = load(path, seed)
    again, began, saved = sorted(map(int, tally.broken)), time.monotonic(), time.monotonic()
    spent = tally.seconds
    with campaign.attempts(work) as attempt:
        while again or tally.done < count:
            if minutes and time.monotonic() - began > 60 * minutes:
                break
            number = again.pop(0) if again else tally.done
            _try(attempt, name, number, tally)
            tally.done = max(tally.done, number + 1)
            tally.seconds = round(spent + time.monotonic() - began, 1)
            if time.monotonic() - saved > SAVE_S:
                write_json(path, asdict(tally))
                saved = time.monotonic()
    write_json(path, asdict(tally))
    return tally


def _try(attempt: Attempt, name: str, number: int, tally: Tally) -> None:
    chance = random.Random(f"{tally.seed} {name} {number}")
    before = tally.broken.pop(str(number), "")
    try:
        tally.add(attempt(number, chance))
        tally.mended += bool(before)
    except Exception as error:  # noqa: BLE001 - whatever it was, the promise is broken
        told = str(error) if isinstance(error, Broken) else traceback.format_exc(limit=-6)
        tally.broken[str(number)] = told[-4000:]
        print(f"{name} {number}: {told}", flush=True)
