# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of models that outlive the job they were loaded for.

A part is either at work in a job, which then owns it, or it lies here, as its file has it: without
LoRAs, with diffusers' own attention. It is known by its files with their sizes and times, and by
all that decides how it lies in memory, so what is taken from here is what would be loaded. It is
let go when the phase that takes another part would not fit beside it, when memory ran out, when
its files have changed, or when somebody asks for the memory.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import torch

from ...core.errors import Cancelled
from .memory import Machine, free_gb

RAM_SHARE = 0.5  # of what would be free without the parts: the rest is other programs'
SHARED_LIMIT = 64  # names, tokenizers, and LoRAs, which lie in their files' pages: all take little

Stamp = tuple[tuple[int, int, int], ...]
T = TypeVar("T")


class Key(NamedTuple):
    """``place``: which part, from which files, for which device and precision; only one form of it
    is held. ``form``: the state of the files, and how it lies in memory."""

    place: tuple[Any, ...]
    form: tuple[Any, ...]


class Part(Protocol):
    """What can be at work in a job; see parts.Component."""

    def unload(self) -> None: ...
    def drop(self) -> None: ...


@dataclass(frozen=True)
class Kept:
    """``gb``: device -> what letting go of it gives back; ``seconds`` it took to load, ``job`` that
    used it last."""

    model: Any
    gb: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    job: int = 0


class Held:
    """Of one process. Without ``keeps`` nothing outlives its use, as for a process of one job."""

    def __init__(self, keeps: bool = True, ram_share: float = RAM_SHARE) -> None:
        self._keeps, self._ram_share = keeps, ram_share
        self._kept: dict[Key, Kept] = {}
        self._shared: dict[tuple[Any, ...], Any] = {}
        self._lent: list[Part] = []
        self._job = 0
        # device -> what the phase at work takes at its peak, the part it works with included
        self.needed_gb: Mapping[str, float] = {}

    @contextmanager
    def job(self) -> Iterator[None]:
        """What a job has loaded is kept when it ends well or is cancelled. After any other error
        nobody knows what state the parts at work are in."""
        self._job += 1
        keep = False
        try:
            yield
            keep = True
        except Cancelled:
            keep = True
            raise
        finally:
            lent, self._lent, self.needed_gb = self._lent, [], {}
            for part in lent:
                part.unload() if keep else part.drop()

    def holds(self, key: Key) -> bool:
        return key in self._kept

    def lend(self, part: Part, key: Key) -> Kept | None:
        """What is held of ``part``, which owns it until it gives it back; None where it has to be
        loaded. Either way there is room for it then, as far as letting go can make any."""
        if not self._keeps:
            return None
        kept = self._kept.pop(key, None)
        self._lent.append(part)
        self._let_go_of(other for other in self._kept if other.place == key.place)
        self._make_room(kept.gb if kept else {})
        return kept

    def give_back(self, key: Key, kept: Kept) -> None:
        """Hold a part that is not at work any more."""
        if not self._keeps:
            return
        self._kept[key] = replace(kept, job=self._job)
        limit_gb = self._ram_share * (free_gb("cpu") + self.gigabytes("cpu"))
        while self.gigabytes("cpu") > limit_gb:
            self._let_go_of([self._least_dear("cpu")])

    def share(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """What ``make`` makes and nobody changes, made once for ``key``; the oldest are let go."""
        if not self._keeps:
            return make()
        found = self._shared.pop(key) if key in self._shared else make()
        self._shared[key] = found
        while len(self._shared) > SHARED_LIMIT:
            del self._shared[next(iter(self._shared))]
        return found

    def gigabytes(self, device: str) -> float:
        """What would be free on ``device`` if all were let go."""
        return sum(kept.gb.get(device, 0.0) for kept in self._kept.values())

    @property
    def on_device_gb(self) -> float:
        """As ``gigabytes``, of the fullest device."""
        kept = list(self._kept.values())  # asked from another thread
        devices = {device for part in kept for device in part.gb}
        return max((sum(p.gb.get(d, 0.0) for p in kept) for d in devices), default=0.0)

    def beside(self, machine: Machine, device: str) -> Machine:
        """``machine`` with what is held on ``device`` and in RAM counted as free."""
        on_device, in_ram = self.gigabytes(device), self.gigabytes("cpu")
        return replace(
            machine, device_gb=machine.device_gb + on_device, ram_gb=machine.ram_gb + in_ram
        )

    def let_go(self) -> bool:
        """Let go of all that is not at work; False when there was nothing."""
        held = bool(self._kept)
        self._shared.clear()
        self._let_go_of(self._kept)
        return held

    def _make_room(self, own_gb: Mapping[str, float]) -> None:
        for device, needed in self.needed_gb.items():
            while self.gigabytes(device) and free_gb(device) + own_gb.get(device, 0.0) < needed:
                self._let_go_of([self._least_dear(device)])

    def _least_dear(self, device: str) -> Key:
        """Of what lies on ``device``: parts of other jobs first, then what is soonest loaded."""
        there = [key for key, kept in self._kept.items() if kept.gb.get(device)]
        return min(there, key=lambda key: (self._kept[key].job, self._kept[key].seconds))

    def _let_go_of(self, keys: Iterable[Key]) -> None:
        keys = list(keys)
        for key in keys:
            del self._kept[key]
        if keys:
            gc.collect()  # hooks of offloading refer to their module, and it to them
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def stamp(files: Iterable[Path]) -> Stamp:
    """Size, time of change (ns) and inode of each: what tells, without reading it, that a file is
    not what it was. Raises OSError."""
    found = (os.stat(path) for path in files)
    return tuple((entry.st_size, entry.st_mtime_ns, entry.st_ino) for entry in found)
