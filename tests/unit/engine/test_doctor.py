# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor runs where nothing else does, and says what is wrong there."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from wan_blender.engine import doctor

REPO = Path(__file__).parents[3]


def test_python_without_the_packages_is_told_what_it_lacks():
    done = subprocess.run(
        [sys.executable, "-S", "-m", "wan_blender.engine", "doctor"],
        cwd=REPO, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert f"at {sys.executable}" in done.stdout
    for name in doctor.PACKAGES:
        assert f"!!  {name}: is not installed. Install the engine again" in done.stdout


@pytest.mark.parametrize("command", ["run", "check", "serve", "models", "hygiene", "forecast"])
def test_python_without_the_packages_is_told_in_one_line(command):
    done = subprocess.run(
        [sys.executable, "-S", "-m", "wan_blender.engine", command, *["{}"] * (command != "serve")],
        cwd=REPO, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "EngineMissing" in line
    assert f"{sys.executable} cannot run the engine: No module named " in line
    assert f"`{sys.executable} -m wan_blender.engine doctor` lists what is missing" in line


def test_only_hygiene_needs_packages_to_be_parsed():
    run = "import sys; from wan_blender.engine.__main__ import main; main(['doctor', '-h'])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", run], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        ("OSError('[WinError 1114] fbgemm.dll')", "OSError: [WinError 1114] fbgemm.dll"),
        ("ImportError('libGL.so.1: cannot open')", "ImportError: libGL.so.1"),
        ("AttributeError('no such thing')", "AttributeError: no such thing"),
    ],
)
def test_package_that_cannot_be_imported_ends_nothing(tmp_path, monkeypatch, fails, words):
    (tmp_path / "wan_fallen.py").write_text(f"raise {fails}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "PACKAGES", ("wan_fallen", "wan_nowhere"))
    monkeypatch.setattr(doctor, "_damage", list)
    fallen, nowhere = (f for f in doctor.examine() if f.bad)
    assert words in fallen.line
    assert nowhere.line.startswith("!!  wan_nowhere: is not installed.")


def test_damaged_environment_is_told(tmp_path, monkeypatch):
    for name, size in (("whole.py", 4), ("cut.py", 3)):
        (tmp_path / name).write_text("x" * size)
    installed = []
    for name, needs, record in (
        ("huggingface_hub", "Thing.1>=2; python_version > '3'", ""),
        ("thing-1", "extras; extra == 'all'", "whole.py,sha256=x,4\ncut.py,sha256=x,4\n"
         "gone.py,sha256=x,4\nrun.pyc,,9\n"),
        ("extras", "", "away.py,sha256=x,4\n"),
        ("others", "", "lost.py,sha256=x,4\n"),
    ):  # fmt: skip
        info = tmp_path / f"{name}.dist-info"
        info.mkdir()
        requires = f"Requires-Dist: {needs}\n" if needs else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\n{requires}")
        (info / "RECORD").write_text(record)
        installed.append(importlib.metadata.Distribution.at(info))
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: installed)
    (finding,) = doctor._damage()
    assert finding.line.startswith(
        "!!  Environment: 2 installed files are missing or changed, the first is cut.py."
    )


@pytest.mark.parametrize(
    ("card", "build", "words"),
    [
        ("NVIDIA H100", None, "ok"),
        ("NVIDIA RTX", None, "!!  Device: NVIDIA RTX is there, but torch 9 is the build for the"),
        ("An AMD card", "6.4", "!!  Device: An AMD card is there, but torch 9 (for 6.4) cannot"),
        ("", None, "ok  Device: processor only, 4 threads"),
    ],
)
def test_card_that_torch_does_not_use_is_told(monkeypatch, card, build, words):
    used = words == "ok"
    torch = SimpleNamespace(
        __version__="9",
        version=SimpleNamespace(cuda=None, hip=build),
        get_num_threads=lambda: 4,
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False)),
        cuda=SimpleNamespace(
            is_available=lambda: used,
            get_device_name=lambda: card,
            mem_get_info=lambda: (2**30, 2**31),
        ),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(doctor, "_multiply", lambda device: None)
    monkeypatch.setattr(doctor, "_card", lambda: card)
    assert doctor._device().line.startswith(words)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("CUDA error: no kernel image is available for execution on the device\nCUDA kernel",
         "torch 9 has no code for the GeForce GTX 1080 (CUDA error: no kernel image is available "
         "for execution on the device). Choose another build of torch in the preferences, CUDA "
         "12.6 for a GeForce GTX"),
        ("CUDA error: out of memory", "GeForce GTX 1080 does not answer (CUDA error: out of memory"
         "). End what else uses it"),
    ],
)  # fmt: skip
def test_card_that_cannot_compute_is_told(monkeypatch, error, expected):
    def fail(device):
        raise RuntimeError(error)

    torch = SimpleNamespace(
        __version__="9",
        cuda=SimpleNamespace(
            is_available=lambda: True,
            get_device_name=lambda: "GeForce GTX 1080",
            mem_get_info=lambda: (2**30, 2**31),
        ),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(doctor, "_multiply", fail)
    assert doctor._device().line.startswith(f"!!  Device: {expected}")
