# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks that run in bpy share: the demo's project, and one line of JSON as answer."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).parents[1]))


def open_demo(folder: Path, *parts: str) -> list[ModuleType]:
    """Build the demo's project on the film in ``folder``; these modules of the extension."""
    from tools.demo import project

    project.enable_extension()
    project.build(folder)
    return [importlib.import_module(f"{project.MODULE}.wan_blender.{part}") for part in parts]


def answer(main: Callable[[Path], dict]) -> None:
    """Print what ``main`` returns for the folder on the command line; what Blender prints, a line
    for every frame, goes to stderr."""
    import bpy  # noqa: F401  (before addon_utils can be imported)

    stdout = os.dup(1)
    os.dup2(2, 1)
    found = main(Path(sys.argv[1]))
    import addon_utils

    addon_utils.disable("bl_ext.user_default.wan_blender")
    os.write(stdout, (json.dumps(found) + "\n").encode())
