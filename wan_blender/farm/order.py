# SPDX-License-Identifier: GPL-3.0-or-later
"""Which job an engine gets next, and what becomes of one that failed. Pure: no clock, no files.

An engine that holds a model goes on with it, and with the shot it has just encoded, as long as
there is such work of the highest priority; within that the longest job comes first, so that no
long one is left for the end. An engine with nothing of its model left helps where most work waits
for each engine that holds the model, unless the work would be done before the model is loaded.
"""

from __future__ import annotations

import bisect
import enum
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Work:
    """One job. ``cost_s`` is what a run is thought to take without loading; ``model`` names what
    has to be loaded; ``gpu_gb`` is the smallest memory that has not failed it."""

    folder: str
    model: str = ""
    shot: str = ""
    cost_s: float = 1.0
    priority: int = 0
    gpu_gb: float = 0.0


@dataclass(frozen=True)
class Warmth:
    """What an engine has at hand: the model it holds, the shot it did last, its memory in GB, 0
    where that is not known."""

    model: str | None = None
    shot: str = ""
    gpu_gb: float = 0.0


class _Shelf:
    """Work of one model and priority: each shot's jobs, the longest at the end."""

    def __init__(self) -> None:
        self.shots: dict[str, list[tuple[float, str, Work]]] = {}
        self.seconds = 0.0

    def add(self, work: Work) -> None:
        bisect.insort(self.shots.setdefault(work.shot, []), (work.cost_s, work.folder, work))
        self.seconds += work.cost_s

    def take(self, warmth: Warmth) -> Work | None:
        """The longest job of the engine's shot, else of all, that fits into its memory."""
        for shot in self._shots(warmth.shot):
            jobs = self.shots[shot]
            for place in range(len(jobs) - 1, -1, -1):
                work = jobs[place][2]
                if not warmth.gpu_gb or work.gpu_gb <= warmth.gpu_gb:
                    del jobs[place]
                    if not jobs:
                        del self.shots[shot]
                    self.seconds -= work.cost_s
                    return work
        return None

    def _shots(self, near: str) -> Iterator[str]:
        """The shots to look at, best first; all are sorted only where the best does not fit."""
        best = near if near in self.shots else max(self.shots, key=self._longest)
        yield best
        if best in self.shots:
            rest = sorted(self.shots, key=self._longest, reverse=True)
            yield from (shot for shot in rest if shot != best)

    def _longest(self, shot: str) -> tuple[float, str]:
        return self.shots[shot][-1][:2]


class Queue:
    """Work that waits. ``load_s`` is what loading a model is thought to take, alone; from storage
    that all ``share`` it takes longer by each engine that is loading already."""

    def __init__(self, load_s: float = 0.0, share: bool = False) -> None:
        self.load_s, self.share = load_s, share
        self._levels: dict[int, dict[str, _Shelf]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def cost_s(self) -> float:
        """Of all that waits."""
        shelves = [shelf for level in list(self._levels.values()) for shelf in list(level.values())]
        return sum(shelf.seconds for shelf in shelves)

    def add(self, work: Work) -> None:
        level = self._levels.setdefault(work.priority, {})
        level.setdefault(work.model, _Shelf()).add(work)
        self._count += 1

    def take(
        self, warmth: Warmth, held: Counter[str] | None = None, loading: int = 0
    ) -> Work | None:
        """The next job for an engine; ``held`` counts the engines that hold each model, or load
        it, ``loading`` those that load one. None where nothing waits, nothing fits into its memory,
        or it is not worth another load."""
        held = held or Counter()
        load_s = self.load_s * (1 + loading if self.share else 1)
        for priority in sorted(self._levels, reverse=True):
            level = self._levels[priority]
            for model in self._models(level, warmth, held, load_s):
                work = level[model].take(warmth)
                if work:
                    self._count -= 1
                    if not level[model].shots:
                        del level[model]
                    if not level:
                        del self._levels[priority]
                    return work
        return None

    def _models(
        self, level: dict[str, _Shelf], warmth: Warmth, held: Counter[str], load_s: float
    ) -> list[str]:
        """The models to look at, best first."""
        first = [warmth.model] if warmth.model in level else []

        def waiting(model: str) -> float:
            return level[model].seconds / held[model] if held[model] else float("inf")

        worth = [m for m in level if m != warmth.model and waiting(m) > load_s]
        return first + sorted(worth, key=lambda m: (waiting(m), level[m].seconds, m), reverse=True)


# -- what failed


class Verdict(enum.Enum):
    AGAIN = "again"  # at once, anywhere
    LATER = "later"  # somebody else works on it
    LARGER = "larger"  # where there is more memory
    GIVE_UP = "give up"
    STOP = "stop"  # no more jobs on this engine


# How often a job is tried again after each code of errors.py; all others say something of the job
# or its settings that is the same on the next machine.
AGAIN = {
    "EngineDied": 2,  # killed, a driver's fault; a job that takes three engines along is the fault
    "EngineError": 1,
    "ProtocolError": 1,
    "NotFinite": 1,  # a card that computes wrong does it on one machine
    "OutOfMemory": 1,
}
MACHINE = ("DiskFull", "EngineMissing")  # says something of the machine; the job is given back


@dataclass
class Failures:
    """Counts what happened to each job, to judge the next failure."""

    tries: Counter[tuple[str, str]] = field(default_factory=Counter)

    def judge(self, folder: str, code: str) -> Verdict:
        if code in MACHINE:
            return Verdict.STOP
        if code == "JobBusy":
            return Verdict.LATER
        self.tries[folder, code] += 1
        if self.tries[folder, code] > AGAIN.get(code, 0):
            return Verdict.GIVE_UP
        return Verdict.LARGER if code == "OutOfMemory" else Verdict.AGAIN
