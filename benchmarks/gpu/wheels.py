# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages for a machine that cannot install any: wheels, unpacked where Python looks."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path


def missing(wheels: Path) -> list[Path]:
    """The wheels whose package cannot be imported here."""
    named = {path: path.name.partition("-")[0] for path in sorted(wheels.glob("*.whl"))}
    return [path for path, name in named.items() if importlib.util.find_spec(name) is None]


def unpack(wheels: list[Path], into: Path) -> None:
    """Unpack ``wheels`` into a folder and let Python find them there."""
    for path in wheels:
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(into)
    sys.path.insert(0, str(into))
    importlib.invalidate_caches()
