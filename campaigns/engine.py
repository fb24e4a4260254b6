# SPDX-License-Identifier: GPL-3.0-or-later
"""A warm engine as the campaigns use it: the real process, spoken to over its pipes."""

from __future__ import annotations

import queue
import sys
from pathlib import Path

import psutil

from wan_blender.core import protocol
from wan_blender.process.child import Child, child_environment

from .tally import Broken

LIMIT_S = 300.0  # of one job; tiny ones take a tenth of a second


class Engine:
    """``cache`` is its folder for tensors. A process that has died is started again by the next
    job, after the try that killed it was told."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._child: Child | None = None
        self._heard: queue.SimpleQueue[protocol.Message] = queue.SimpleQueue()

    def run(self, folder: Path) -> protocol.Done | protocol.Failed:
        """The engine's answer to the job in ``folder``. Raises Broken where it gives none."""
        child = self._child or self._start()
        child.write(protocol.encode(protocol.Run(str(folder))))
        while True:
            try:
                message = self._heard.get(timeout=LIMIT_S if child.alive else 1.0)
            except queue.Empty:
                self.close()
                said = " | ".join(child.last_lines)
                raise Broken(
                    f"The engine gave no answer (exit code {child.code}): {said}"
                ) from None
            if isinstance(message, protocol.Done | protocol.Failed):
                return message

    def _start(self) -> Child:
        environment = child_environment() | {"WAN_BLENDER_CACHE": str(self._cache)}
        self._child = Child(
            [sys.executable, "-m", "wan_blender.engine", "serve"],
            lambda line: self._heard.put(protocol.decode(line)),
            listens=True,
            environment=environment,
        )
        return self._child

    @property
    def process(self) -> psutil.Process:
        return psutil.Process((self._child or self._start()).pid)

    def close(self) -> None:
        if self._child:
            self._child.kill()
            self._child = None
            self._heard = queue.SimpleQueue()
