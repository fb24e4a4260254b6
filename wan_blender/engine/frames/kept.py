# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that several steps of a run look at: each is read once where there is room, and on threads
before it is asked for, so that reading runs beside the model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import psutil

from ...masks.crop import bounds

AHEAD = 3  # frames that are read before they are asked for
ROOM_BYTES = 1 << 30  # for the frames of one shot, and
ROOM_SHARE = 1 / 8  # no more of the memory that is free
_READERS = ThreadPoolExecutor(2, "frames")

Part = tuple[slice, slice]  # rows and columns of a picture
T = TypeVar("T")


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


S = TypeVar("S", bound=Sized)


class KeptFrames(Generic[S]):
    """``read(0)`` to ``read(count - 1)``. The first that fit into ``room`` bytes stay; the others
    are read again at each pass. Any thread may ask."""

    def __init__(self, read: Callable[[int], S], count: int, room: int) -> None:
        self._read, self._count, self._room = read, count, room
        self._kept: dict[int, S] = {}
        self._coming: dict[int, Future[S]] = {}
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> S:
        with self._lock:
            for near in range(index, min(index + 1 + AHEAD, self._count)):
                if near not in self._kept and near not in self._coming:
                    self._coming[near] = _READERS.submit(self._read, near)
            if index in self._kept:
                return self._kept[index]
            coming = self._coming[index]
        try:
            frame = coming.result()
        except BaseException:
            with self._lock:
                self._coming.pop(index, None)
            raise
        with self._lock:
            if self._coming.pop(index, None) and frame.nbytes <= self._room:
                self._kept[index] = frame
                self._room -= frame.nbytes
        return frame


@dataclass(frozen=True)
class GrayFrame:
    """What is not 0 of a picture (H, W) of integers: ``values`` from row ``top``, column ``left``
    on."""

    shape: tuple[int, int]
    top: int
    left: int
    values: np.ndarray

    @classmethod
    def of(cls, frame: np.ndarray) -> GrayFrame:
        x0, y0, x1, y1 = bounds(frame) or (0, 0, 0, 0)
        return cls(frame.shape, y0, x0, frame[y0:y1, x0:x1].copy())

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def part(self, part: Part) -> np.ndarray:
        """The integers of that part of the picture."""
        rows, columns = (range(*s.indices(side)) for s, side in zip(part, self.shape, strict=True))
        made = np.zeros((len(rows), len(columns)), self.values.dtype)
        height, width = self.values.shape
        y0, y1 = max(rows.start, self.top), min(rows.stop, self.top + height)
        x0, x1 = max(columns.start, self.left), min(columns.stop, self.left + width)
        if y0 < y1 and x0 < x1:
            seen = self.values[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]
            made[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start] = seen
        return made


def room_bytes() -> int:
    """For the frames of one kind of one shot, now."""
    return min(ROOM_BYTES, int(ROOM_SHARE * psutil.virtual_memory().available))


def ahead(items: Iterable[T]) -> Iterator[T]:
    """``items``, each made on a thread while the one before it is worked with."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = pool.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, source, end)
            yield item
