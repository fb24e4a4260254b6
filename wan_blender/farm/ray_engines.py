# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines on the nodes of a Ray cluster that its owner has started; nothing here opens a port.

Each engine is an actor that owns one engine process, on a GPU of its node or on some of its cores.
Only paths of folders travel: the batch lies on a disk that all nodes see, and this package at the
same path. What dies with a node, an actor or an engine is one job's run, which is done elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    from ..core.errors import BadRequest

    raise BadRequest(
        f"This Python has no Ray: {error}.",
        "Make its environment with `make farm-env`, and run .venv/farm/bin/python -m "
        "wan_blender.farm.",
    ) from error

from ..core.errors import EngineDied, UserError
from ..core.lock import is_claimed
from ..process.child import PACKAGE_PARENT
from ..process.engine import find_python
from .driver import no_locks
from .engines import Event, LocalEngine

LOOK_S = 2.0  # between two looks for nodes
KNOCK_S = 5.0
LISTEN_S = 1.0  # an actor's answer comes with the first event, or after that
TICK_S = 0.005
LOGS = ".logs"


class Host:
    """The actor: an engine process on its node. ``poll`` listens on a thread while others call."""

    def __init__(self, folder: str, python: str, number: int, module: str) -> None:
        self.name = f"{socket.gethostname()} {number}"
        self._locks = is_claimed(Path(folder))  # the driver holds it: seen, if locks work
        log = Path(folder) / LOGS / f"{socket.gethostname()}-{os.getpid()}.log"
        self._engine: LocalEngine | None = None
        self._error: dict[str, str] = {}
        self._lock = threading.Lock()
        try:
            if self._locks:
                self._engine = LocalEngine(self.name, find_python(python), log, module)
            else:
                self._error = no_locks(Path(folder)).to_dict()
        except UserError as error:  # EngineMissing, of this node
            self._error = error.to_dict()

    def describe(self) -> str:
        return self.name

    def give(self, folder: str) -> None:
        with self._lock:
            if self._engine:
                self._engine.give(folder)

    def cancel(self, folder: str) -> None:
        with self._lock:
            if self._engine:
                self._engine.cancel(folder)

    def poll(self) -> list[Event]:
        """What happened, as soon as something does; [] after LISTEN_S without."""
        until = time.monotonic() + LISTEN_S
        while time.monotonic() < until:
            with self._lock:
                if self._engine is None:
                    return [Event("gone", error=self._error)]
                if events := list(self._engine.poll()):
                    return events
            time.sleep(TICK_S)
        return []

    def stop(self) -> None:
        with self._lock:
            if self._engine:
                self._engine.stop()
                self._engine, self._error = None, {}


class RayEngine:
    """An actor as the driver sees it. A call is a question whose answer is looked for later."""

    def __init__(self, actor: Any, name: str) -> None:
        self.name, self.offered, self.gpu_gb = name, False, 0.0
        self._actor = actor
        self._described = actor.describe.remote()
        self._asked: Any = None
        self._folder, self._gone = "", False

    def give(self, folder: str) -> None:
        self._folder = folder
        self._actor.give.remote(folder)

    def cancel(self, folder: str) -> None:
        self._actor.cancel.remote(folder)

    def poll(self) -> Iterator[Event]:
        if self._gone:
            return
        try:
            yield from self._answers()
        except RayError as error:
            self._gone = True
            died = EngineDied(
                f"{self.name} is gone: {str(error).strip().partition(chr(10))[0]}",
                "Its job is given to another engine.",
            )
            yield Event("gone", error=died.to_dict())

    def stop(self) -> None:
        with contextlib.suppress(RayError):
            ray.get(self._actor.stop.remote(), timeout=10)
        with contextlib.suppress(RayError):
            ray.kill(self._actor)

    def _answers(self) -> Iterator[Event]:
        if not self.offered:
            if not _is_there(self._described):
                return
            self.name, self.offered = ray.get(self._described), True
        self._asked = self._asked or self._actor.poll.remote()
        if not _is_there(self._asked):
            return
        asked, self._asked = self._asked, self._actor.poll.remote()
        for event in ray.get(asked):
            self._gone = self._gone or event.kind == "gone"
            self.gpu_gb = event.gpu_gb or self.gpu_gb
            yield event


def _knock(address: str) -> None:
    """Raise OSError where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "://" not in address:
        socket.create_connection((host, int(port)), KNOCK_S).close()


def _is_there(answer: Any) -> bool:
    return bool(ray.wait([answer], timeout=0)[0])


class Cluster:
    """The cluster at ``address``, whose nodes find the batch in ``folder`` and the engine's Python
    at ``python`` or in their variable WAN_ENGINE_PYTHON. Raises UserError where there is none."""

    def __init__(
        self,
        address: str,
        folder: Path,
        python: str = "",
        cpus: int = 4,
        module: str = "wan_blender.engine",
    ) -> None:
        self._options = (str(folder), python)
        self._cpus, self._module = cpus, module
        self._known: set[str] = set()  # nodes that were asked for engines
        self._engines: list[RayEngine] = []
        self._looked_at = 0.0
        try:
            _knock(address)
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": {"PYTHONPATH": str(PACKAGE_PARENT)}},
            )
        except (OSError, RuntimeError, ValueError, RayError) as error:
            raise UserError(
                f"There is no Ray cluster at {address}: {str(error).strip().splitlines()[0]}",
                "Start one with `ray start --head`, join nodes with `ray start --address`, and "
                "give the address that they were given.",
            ) from error

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._engines:
            engine.stop()
        ray.shutdown()

    def look_for_more(self) -> list[RayEngine]:
        """Engines on nodes that have joined since."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return []
        self._looked_at = now
        joined = [n for n in ray.nodes() if n["Alive"] and n["NodeID"] not in self._known]
        self._known |= {node["NodeID"] for node in joined}
        found = [
            self._start(node, number)
            for node in joined
            for number in range(1, self._room(node["Resources"]) + 1)
        ]
        self._engines += found
        return found

    def _room(self, resources: dict[str, float]) -> int:
        gpus = int(resources.get("GPU", 0))
        return gpus or int(resources.get("CPU", 0)) // self._cpus

    def _start(self, node: dict[str, Any], number: int) -> RayEngine:
        gpu = bool(node["Resources"].get("GPU"))
        wanted = {"num_gpus": 1, "num_cpus": 0} if gpu else {"num_cpus": self._cpus}
        actor = ray.remote(Host).options(
            **wanted,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=4,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        )
        name = f"{node['NodeManagerHostname']} {number}"
        return RayEngine(actor.remote(*self._options, number, self._module), name)
