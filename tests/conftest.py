# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of all sides need: disks that are soon full or cannot be written, an engine
without torch, and the same examples in every run."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]

if importlib.util.find_spec("hypothesis"):
    from hypothesis import settings

    # A property test fails for what changed in the code, not for what it happened to try.
    # HYPOTHESIS_PROFILE=default looks for new examples.
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture
def stub_python(tmp_path) -> Path:
    """A Python for the engine that runs tests/unit/stub_engine.py instead of torch."""
    python = tmp_path / "stub-python"
    script = f'#!/bin/sh\nPYTHONPATH={REPO} exec "{sys.executable}" -m tests.unit.stub_engine\n'
    python.write_text(script)
    python.chmod(0o755)
    return python


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """``small_disk(kib)``: an empty file system of that size."""
    place = tmp_path / "disk"

    def mount(kib: int) -> Path:
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a small file system cannot be mounted here (needs root)")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def make_read_only(small_disk) -> Callable[[Path], None]:
    """``make_read_only(disk)``: what ``small_disk`` mounted takes no more writing, not even
    root's."""
    return lambda disk: subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
