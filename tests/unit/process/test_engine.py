# SPDX-License-Identifier: GPL-3.0-or-later
"""EngineProcess with real children: what it hears, how they end, what it leaves behind."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wan_blender.core import protocol, watchdog
from wan_blender.core.errors import Cancelled, EngineDied, EngineMissing, ProtocolError
from wan_blender.process import engine as process
from wan_blender.process.child import child_environment
from wan_blender.process.engine import EngineProcess, EngineState, find_python

REPO = Path(__file__).parents[3]


@pytest.fixture
def engine(tmp_path):
    engine = EngineProcess(Path(sys.executable), tmp_path / "log.txt", "tests.unit.stub_engine")
    yield engine
    engine.kill()


def until(condition, engine: EngineProcess, limit_s: float = 20.0) -> list[protocol.Message]:
    heard, deadline = [], time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, (engine.state, engine.error, heard)
        message = engine.poll()
        if message is None:
            time.sleep(0.01)
        else:
            heard.append(message)
    return heard


def ready(engine: EngineProcess) -> EngineProcess:
    engine.start()
    until(lambda: engine.state is not EngineState.STARTING, engine)
    return engine


def gone(pid: int, limit_s: float = 10.0) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True  # ended; whoever adopted it has not looked yet
        time.sleep(0.02)
    return False


def test_start_says_starting_then_ready(engine):
    engine.start()
    assert engine.state is EngineState.STARTING
    until(lambda: engine.state is EngineState.READY, engine)
    assert engine.hello.pid == engine.pid
    assert engine.alive


def test_run_is_busy_until_done_and_keeps_order(engine):
    ready(engine).send(protocol.Run("a"))
    assert engine.state is EngineState.BUSY
    heard = until(lambda: engine.state is EngineState.READY, engine)
    assert [type(m).__name__ for m in heard] == ["Progress", "Done"]
    assert heard[-1].report.schema == 1


def test_stop_ends_the_child_cleanly(engine):
    pid = ready(engine).pid
    engine.stop()
    assert engine.state is EngineState.STOPPED
    assert not engine.alive
    assert gone(pid)


def test_stop_kills_a_child_that_does_not_listen(engine):
    pid = ready(engine).pid
    engine.send(protocol.Run("mute"))
    engine.stop(grace_s=0.1)
    assert gone(pid)


def test_kill_reaches_grandchildren(engine, monkeypatch):
    monkeypatch.setenv("STUB_ENGINE", "grandchild")
    ready(engine)
    until(lambda: engine.log.exists() and "grandchild" in engine.log.read_text(), engine)
    grandchild = int(engine.log.read_text().split()[-1])
    engine.kill()
    assert gone(grandchild)


def test_death_tells_signal_and_last_words(engine):
    ready(engine).send(protocol.Run("die"))
    until(lambda: engine.state is EngineState.FAILED, engine)
    assert isinstance(engine.error, EngineDied)
    assert "signal 9" in engine.error.message
    assert "about to fall" in engine.error.message
    assert str(engine.log) in engine.error.hint
    assert "about to fall" in engine.log.read_text()


def test_death_is_not_told_with_the_words_of_a_job_before(engine):
    ready(engine).send(protocol.Run("talk"))
    while "talked" not in engine.log.read_text():
        time.sleep(0.01)
    until(lambda: engine.state is EngineState.READY, engine)
    os.kill(engine.pid, signal.SIGKILL)
    until(lambda: engine.state is EngineState.FAILED, engine)
    assert engine.error.message == "The engine ended by signal 9."


@pytest.mark.parametrize("mode", ["broken", "unfit"])  # before and after Hello
def test_death_while_starting_tells_the_import_error(engine, monkeypatch, mode):
    monkeypatch.setenv("STUB_ENGINE", mode)
    ready(engine)
    assert engine.state is EngineState.MISSING
    assert isinstance(engine.error, EngineMissing)
    assert engine.error.message == (
        f"{sys.executable} cannot run the engine: ModuleNotFoundError: No module named 'torch'."
    )


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (f'exec {sys.executable} -S "$@"', f"{sys.executable} cannot .*: No module named '\\w+'"),
        ("exit 0", "python cannot run the engine: it ended with exit code 0 and said nothing"),
    ],
    ids=["without packages", "no Python"],
)
def test_python_that_cannot_run_the_engine_is_missing(tmp_path, script, words):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    engine = ready(EngineProcess(python, tmp_path / "log.txt"))
    assert engine.state is EngineState.MISSING
    assert isinstance(engine.error, EngineMissing)
    assert re.fullmatch(f".*{words}\\.", engine.error.message)
    assert "Install Engine" in engine.error.hint


def test_restart_after_death_is_a_fresh_engine(engine):
    ready(engine).send(protocol.Run("die"))
    until(lambda: engine.state is EngineState.FAILED, engine)
    ready(engine)
    assert engine.state is EngineState.READY
    assert engine.error is None


def test_other_protocol_version_is_refused(engine, monkeypatch):
    monkeypatch.setenv("STUB_ENGINE", "newer")
    ready(engine)
    assert isinstance(engine.error, ProtocolError)
    assert f"protocol {protocol.VERSION + 1}" in engine.error.message
    assert not engine.alive


def test_noise_on_stdout_is_a_protocol_error_that_quotes_it(engine):
    ready(engine).send(protocol.Run("noise"))
    until(lambda: engine.state is EngineState.FAILED, engine)
    assert "this is not a message" in str(engine.error)


def test_silent_engine_is_ended(engine, monkeypatch):
    monkeypatch.setattr(process, "SILENCE_TIMEOUT_S", 0.3)
    pid = ready(engine).pid
    engine.send(protocol.Run("mute"))
    until(lambda: engine.state is EngineState.FAILED, engine)
    assert "said nothing" in engine.error.message
    assert gone(pid)


def test_stuck_engine_is_noticed_though_its_heart_beats(engine, monkeypatch):
    monkeypatch.setattr(watchdog, "LEAST_S", 0.3)
    monkeypatch.setattr(watchdog, "UNKNOWN_S", 0.3)
    pid = ready(engine).pid
    engine.send(protocol.Run("stuck"))
    heard = until(lambda: engine.state is EngineState.FAILED, engine)
    assert len([m for m in heard if isinstance(m, protocol.Heartbeat)]) > 1
    assert isinstance(engine.error, EngineDied)
    assert "The engine is stuck and was ended. It has made no progress" in engine.error.message
    assert "denoising, step 1" in engine.error.message
    assert gone(pid)


def test_cancel_that_is_not_answered_ends_the_engine(engine, monkeypatch):
    monkeypatch.setattr(process, "CANCEL_TIMEOUT_S", 0.3)
    pid = ready(engine).pid
    engine.send(protocol.Run("stuck"))
    engine.send(protocol.Cancel("stuck"))
    until(lambda: engine.state is EngineState.FAILED, engine)
    assert isinstance(engine.error, Cancelled)
    assert gone(pid)
    ready(engine)
    assert engine.state is EngineState.READY


def test_engine_killed_while_it_is_being_started_is_gone(engine):
    engine.start()
    start = engine._start
    engine.kill()
    start.wait()
    assert gone(start.child.pid)


def test_engine_that_never_says_hello_is_ended(engine, monkeypatch):
    monkeypatch.setenv("STUB_ENGINE", "slow")
    monkeypatch.setattr(process, "START_TIMEOUT_S", 0.3)
    ready(engine)
    assert "did not start" in engine.error.message


def host_script(log: Path, ending: str) -> list[str]:
    code = f"""
import sys, time
from pathlib import Path
from wan_blender.process.engine import EngineProcess
engine = EngineProcess(Path(sys.executable), Path({str(log)!r}), "tests.unit.stub_engine")
engine.start()
while not engine.pid:
    time.sleep(0.01)
print(engine.pid, flush=True)
{ending}
"""
    return [sys.executable, "-c", code]


def test_killed_host_takes_the_engine_with_it(tmp_path):
    command = host_script(tmp_path / "log.txt", "time.sleep(60)")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPO) as host:
        pid = int(host.stdout.readline())
        os.kill(host.pid, signal.SIGKILL)
    assert gone(pid)


def test_ending_host_takes_the_engine_with_it(tmp_path):
    command = host_script(tmp_path / "log.txt", "")
    output = subprocess.check_output(command, text=True, cwd=REPO)
    assert gone(int(output))


def test_child_environment_is_cleaned(engine, monkeypatch):
    for name in (
        "PYTHONHOME",
        "LD_LIBRARY_PATH",
        "VIRTUAL_ENV",
        "BLENDER_USER_RESOURCES",
    ):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("STUB_ENGINE", "environment")
    ready(engine)
    for name in (
        "PYTHONHOME",
        "LD_LIBRARY_PATH",
        "VIRTUAL_ENV",
        "BLENDER_USER_RESOURCES",
    ):
        assert name not in engine.hello.python
    assert child_environment()["PYTHONPATH"] == str(REPO)


def test_python_that_cannot_start_is_missing(tmp_path):
    broken = tmp_path / "python"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    engine = EngineProcess(broken, tmp_path / "log.txt")
    ready(engine)
    assert engine.state is EngineState.MISSING
    assert isinstance(engine.error, EngineMissing)
    assert "could not be started" in engine.error.message


def test_log_in_a_place_that_is_no_folder_is_an_os_message(tmp_path):
    (tmp_path / "file").write_text("")
    engine = EngineProcess(Path(sys.executable), tmp_path / "file" / "log.txt")
    with pytest.raises(Exception, match="opening the engine's log"):
        engine.start()
    assert not engine.alive


def test_log_is_rotated_when_large(engine, monkeypatch):
    monkeypatch.setattr(process, "LOG_BYTES", 10)
    engine.log.write_text("x" * 11)
    ready(engine)
    assert engine.log.with_name("log.old.txt").read_text() == "x" * 11
    assert engine.log.stat().st_size == 0


def test_find_python_prefers_the_preference(tmp_path):
    assert find_python(sys.executable) == Path(sys.executable)


def test_find_python_says_which_choice_is_broken(monkeypatch):
    with pytest.raises(EngineMissing, match=r"/no/such.*preferences"):
        find_python("/no/such")
    monkeypatch.setenv(process.PYTHON_VARIABLE, "/no/other")
    with pytest.raises(EngineMissing, match=r"/no/other.*WAN_ENGINE_PYTHON"):
        find_python()


def test_find_python_takes_own_interpreter_beside_torch(monkeypatch, tmp_path):
    monkeypatch.delenv(process.PYTHON_VARIABLE, raising=False)
    (tmp_path / "torch.py").write_text("raise RuntimeError('must not be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_python() == Path(sys.executable)


def test_find_python_takes_the_installed_engine_or_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.delenv(process.PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr(process.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineMissing, match="Press Install Engine in the add-on's preferences"):
        find_python()
    assert find_python("", tmp_path / "python") == tmp_path / "python"
