# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of both sides need: disks that are soon full, or cannot be written."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


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
