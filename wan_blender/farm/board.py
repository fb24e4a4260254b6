# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the engines of a batch are, for who looks at it from elsewhere: a file that the driver
replaces every few seconds. It means something only while the driver holds the batch, which its lock
tells and no clock has to. stdlib only."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.files import read_json, write_json
from ..core.lock import is_claimed

BOARD = ".progress.json"
BOARD_BYTES = 1 << 20
ENGINES = 1000  # that are written and read, at most
TEXT = 300  # letters of a name
WRITE_S = 2.0


@dataclass(frozen=True)
class EngineLine:
    """``state``: starting, idle, or the phase of ``job``, which is ``fraction`` (0..1) done."""

    name: str
    state: str
    job: str = ""
    fraction: float = 0.0


@dataclass(frozen=True)
class Board:
    """``left_s`` is how long the rest will take, by what the jobs so far have taken; -1 while
    nothing is known."""

    engines: tuple[EngineLine, ...]
    left_s: float = -1.0


def write_board(folder: Path, board: Board) -> None:
    """Raises OSError."""
    lines = [asdict(line) for line in board.engines[:ENGINES]]
    write_json(folder / BOARD, {"engines": lines, "left_s": board.left_s})


def read_board(folder: Path) -> Board | None:
    """None while nobody drives the batch, and for a file that is not a board."""
    if not is_claimed(folder):
        return None
    try:
        data = read_json(folder / BOARD, BOARD_BYTES)
        lines = tuple(_line(entry) for entry in data["engines"][:ENGINES])
        return Board(lines, float(data["left_s"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _line(entry: dict[str, Any]) -> EngineLine:
    name, state, job = (str(entry[key])[:TEXT] for key in ("name", "state", "job"))
    return EngineLine(name, state, job, min(1.0, max(0.0, float(entry["fraction"]))))


class BoardWriter:
    """Writes what ``read`` says into ``folder`` while the block runs, on a thread: a slow disk is
    not to hold up the driver."""

    def __init__(self, folder: Path, read: Callable[[], Board]) -> None:
        self._folder, self._read = folder, read
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> BoardWriter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            (self._folder / BOARD).unlink()

    def _write(self) -> None:
        shown: Board | None = None
        while not self._ended.wait(0.0 if shown is None else WRITE_S):
            board = self._read()
            if board != shown:
                shown = board
                with contextlib.suppress(OSError):  # a full disk is told by the jobs
                    write_board(self._folder, board)
