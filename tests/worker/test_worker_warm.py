# SPDX-License-Identifier: GPL-3.0-or-later
"""A warm engine as a real child process: what it says first, what it holds, and lets go of."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worker.test_worker import Engine, _job
from wan_blender.core import protocol
from wan_blender.core.result import find_result

ROOT = Path(__file__).parents[2]


@pytest.fixture
def serve(tmp_path, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "tensors"))
    return lambda: Engine("serve")


def run(engine, folder):
    """The parts that were loaded for the job in ``folder``, and the bytes of its frames."""
    engine.send(protocol.Run(str(folder)))
    phases = set()
    while isinstance(
        message := engine.read(), (protocol.Progress, protocol.Heartbeat, protocol.Ready)
    ):
        phases.add(getattr(message, "phase", ""))
    assert isinstance(message, protocol.Done), message
    frames = [path.read_bytes() for path in sorted(find_result(folder).glob("patch/*.png"))]
    return {phase for phase in phases if phase.startswith("loading")}, frames


def test_models_stay_until_their_memory_is_asked_for(serve, tmp_path):
    with serve() as engine:
        assert isinstance(engine.read(), protocol.Hello)
        ready = engine.read_until(protocol.Ready)
        assert ready.device
        first, frames = run(engine, _job(tmp_path / "a"))
        assert {"loading transformer", "loading vae", "loading text encoder"} <= first
        assert run(engine, _job(tmp_path / "b")) == (set(), frames)
        engine.send(protocol.FreeMemory())
        assert engine.read_until(protocol.MemoryFreed).memory_gb > 0
        again, same = run(engine, _job(tmp_path / "c"))
        assert "loading transformer" in again
        assert same == frames
        engine.child.send_signal(signal.SIGKILL)  # while parts are held
        engine.child.wait()
    with serve() as engine:
        assert run_after_hello(engine, _job(tmp_path / "d")) == frames


def test_cache_is_as_large_as_the_host_says(serve, tmp_path):
    def files():
        return list((tmp_path / "tensors").glob("*"))

    with serve() as engine:
        run_after_hello(engine, _job(tmp_path / "a"))
        assert files()
        engine.send(protocol.LimitCache(0.0))
        run(engine, _job(tmp_path / "b"))
        assert not files()


def run_after_hello(engine, folder):
    assert isinstance(engine.read(), protocol.Hello)
    return run(engine, folder)[1]


def test_first_message_does_not_wait_for_torch():
    code = (
        "import sys; from wan_blender.engine import worker; worker.hello();"
        "print([name for name in ('torch', 'numpy', 'diffusers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_package_that_is_missing_is_told_after_hello(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('No module named torch')\n")
    done = subprocess.run(
        [sys.executable, "-m", "wan_blender.engine", "serve"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert isinstance(protocol.decode(done.stdout.splitlines()[0]), protocol.Hello)
    assert json.loads(done.stderr.splitlines()[-1])["error"]["code"] == "EngineMissing"
