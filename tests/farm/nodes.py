# SPDX-License-Identifier: GPL-3.0-or-later
"""A Ray cluster of 127.0.0.1, whose nodes are processes of who starts them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

MARK = "WAN_TEST_NODE"  # in the environment of a node, and so of all that it starts


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Nodes:
    """A head without cores and nodes with one each. ``python`` is of the farm's environment."""

    def __init__(self, python: Path, variables: Mapping[str, str] | None = None) -> None:
        self._variables = dict(variables or {})
        self._ray = python.with_name("ray")
        self.address = f"127.0.0.1:{free_port()}"
        self.folder = tempfile.TemporaryDirectory(prefix="ray", dir="/tmp")  # short, for sockets
        self.children: list[subprocess.Popen[bytes]] = []  # all are killed in the end
        self._marks: dict[int, str] = {}
        self.start("--head", f"--port={self.address.rpartition(':')[2]}", "--num-cpus=0",
                   "--include-dashboard=false", f"--temp-dir={self.folder.name}")  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        mark = f"{self.folder.name}-{len(self.children)}"
        child = subprocess.Popen(
            [self._ray, "start", "--block", "--node-ip-address=127.0.0.1", "--disable-usage-stats",
             "--object-store-memory=80000000", *words],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "RAY_raylet_start_wait_time_s": "120", MARK: mark,
                 **self._variables},
        )  # fmt: skip
        self._marks[child.pid] = mark
        self.children.append(child)
        return child

    def join(self) -> subprocess.Popen[bytes]:
        return self.start(f"--address={self.address}", "--num-cpus=1")

    @property
    def words(self) -> list[str]:
        """Of `farm run`. A busy machine may take minutes to offer an engine."""
        return ["--ray", self.address, "--patience", "200"]

    def wait_for_head(self) -> None:
        """Raises TimeoutError."""
        deadline = time.monotonic() + 60
        port = int(self.address.rpartition(":")[2])
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.2)
        raise TimeoutError("the head did not start")

    def kill(self, child: subprocess.Popen[bytes]) -> None:
        """The node with all that runs on it."""
        for kill, process in ((os.killpg, child.pid), *((os.kill, p) for p in self.of(child))):
            with contextlib.suppress(ProcessLookupError):
                kill(process, signal.SIGKILL)
        child.wait()

    def of(self, child: subprocess.Popen[bytes], having: str = "") -> list[int]:
        """Processes of the node ``child`` whose command has the words ``having``. Linux."""
        mark, found = f"{MARK}={self._marks.get(child.pid, '-')}".encode(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                        if having.encode() in command:
                            found.append(int(entry.name))
        return found

    def close(self) -> None:
        for child in reversed(self.children):
            self.kill(child)
        self.folder.cleanup()
