# SPDX-License-Identifier: GPL-3.0-or-later
"""A pytest plugin: an environment that has neither torch nor bpy, whatever is installed in it.

python -m pytest -p tests.unit.no_torch tests/unit
"""

import sys
from collections.abc import Sequence

ABSENT = {"accelerate", "bpy", "diffusers", "peft", "torch", "transformers"}


class Absent:
    """Finds no module of ``ABSENT``, before anything else can find it."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> None:
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r} in tests/unit", name=name)


sys.meta_path.insert(0, Absent)
