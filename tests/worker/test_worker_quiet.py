# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine at work opens no port, and what it writes holds no token."""

import os
import socket
from pathlib import Path

import psutil
import pytest

from tests.worker.test_worker import Engine, _job
from wan_blender.core import protocol

TOKEN = "hf_PlantedTokenThatNobodyMayWrite"


def ports_of(pid: int) -> list:
    """Connections of a process and all that it started, of any kind but pipes."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return [c for one in family for c in one.net_connections("inet")]


def test_ports_are_seen():
    with socket.create_server(("127.0.0.1", 0)):
        assert [c.status for c in ports_of(os.getpid())] == ["LISTEN"]


@pytest.mark.parametrize("prompt", ["a red ball", "fail"])
def test_engine_at_work_opens_no_port_and_writes_no_token(tmp_path, monkeypatch, prompt):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "tensors"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    folder = _job(tmp_path / "job", steps=6)
    if prompt == "fail":
        (folder / "plate" / "000003.png").write_bytes(b"no picture")
    with Engine("serve") as engine:
        assert isinstance(engine.read(), protocol.Hello)
        assert ports_of(engine.child.pid) == []
        engine.send(protocol.Run(str(folder)))
        seen, said = 0, []
        while not isinstance(message := engine.read(), protocol.Done | protocol.Failed):
            said.append(protocol.encode(message))
            seen += 1
            assert ports_of(engine.child.pid) == []
        engine.send(protocol.Shutdown())
        said += [protocol.encode(message), engine.child.stderr.read()]
    assert seen > 3
    assert TOKEN not in "".join(said)
    written = [path for path in Path(tmp_path).rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []
