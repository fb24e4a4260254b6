# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine as the driver sees it, and the one that is a process of this machine. stdlib only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..core import protocol
from ..core.errors import DiskFull, WanError
from ..process.engine import EngineProcess, EngineState

FALLS_AT_MOST = 3  # in a row without a job done between them


@dataclass
class Event:
    """``kind``: ready, progress, done, failed, gone. ``error`` is WanError.to_dict(); of "gone" it
    says why, and the job that ran, if any, has to be run elsewhere."""

    kind: str
    folder: str = ""
    error: dict[str, str] = field(default_factory=dict)
    phase: str = ""
    fraction: float = 0.0
    gpu_gb: float = 0.0  # of "ready": the card's, 0 where there is none


class Engine(Protocol):
    """Runs one job at a time. Nothing here blocks or raises."""

    name: str
    gpu_gb: float  # 0 where it is not known
    offered: bool  # whether there is a process that starts it, or will answer

    def give(self, folder: str) -> None:
        """Run the job in ``folder`` unless it has a result."""

    def poll(self) -> Iterator[Event]:
        """What happened since it was asked last."""

    def cancel(self, folder: str) -> None:
        """Stop the job within a step."""

    def stop(self) -> None:
        """End it; a job that runs can be run again."""


class LocalEngine:
    """An engine process of this machine, started again when it falls."""

    offered = True

    def __init__(
        self, name: str, python: Path, log: Path, module: str = "wan_blender.engine"
    ) -> None:
        self.name, self.gpu_gb = name, 0.0
        self._process = EngineProcess(python, log, module)
        self._folder, self._falls, self._ready, self._gone = "", 0, False, False
        self._first: WanError | None = None
        self._start()

    def give(self, folder: str) -> None:
        self._folder = folder
        self._process.send(protocol.Run(folder, unfinished=True))

    def poll(self) -> Iterator[Event]:
        if self._gone:
            return
        if self._first:
            yield self._end(self._first)
            return
        while message := self._process.poll():
            yield from self._hear(message)
        if self._process.state is EngineState.READY and not self._ready:
            self._ready = True
            self.gpu_gb = self._process.ready.device_gb if self._process.ready else 0.0
            yield Event("ready", gpu_gb=self.gpu_gb)
        elif self._process.error:
            yield from self._fell(self._process.error)

    def cancel(self, folder: str) -> None:
        self._process.send(protocol.Cancel(folder))

    def stop(self) -> None:
        self._process.stop()

    def _start(self) -> None:
        self._ready = False
        try:
            self._process.start()
        except DiskFull as error:
            self._first = error

    def _hear(self, message: protocol.Message) -> Iterator[Event]:
        match message:
            case protocol.Progress():
                yield Event("progress", message.job, phase=message.phase,
                            fraction=message.fraction)  # fmt: skip
            case protocol.Done():
                self._folder, self._falls = "", 0
                yield Event("done", message.job)
            case protocol.Failed():
                self._folder = ""
                yield Event("failed", message.job, message.error)

    def _fell(self, error: WanError) -> Iterator[Event]:
        folder, self._folder = self._folder, ""
        self._falls += 1
        missing = self._process.state is EngineState.MISSING
        if folder:
            yield Event("failed", folder, error.to_dict())
        if missing or self._falls >= FALLS_AT_MOST:
            yield self._end(error)
        else:
            self._start()

    def _end(self, error: WanError) -> Event:
        self._gone = True
        return Event("gone", error=error.to_dict())


def start_local(count: int, python: Path, logs: Path, **options: Any) -> list[LocalEngine]:
    """``count`` engines of this machine, each with a log of its own in the folder ``logs``."""
    return [
        LocalEngine(f"engine {number}", python, logs / f"engine-{number}.log", **options)
        for number in range(1, count + 1)
    ]
