# SPDX-License-Identifier: GPL-3.0-or-later
"""A pytest plugin: an environment that has neither torch nor bpy, whatever is installed in it.

python -m pytest -p tests.unit.no_torch tests/unit
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ABSENT = {"accelerate", "bpy", "diffusers", "peft", "torch", "transformers"}


class WithoutTorch(PathFinder):
    """``PathFinder`` that overlooks the packages of ``ABSENT`` among those installed."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = super().find_spec(name, path, target)
        if spec and name in ABSENT and "site-packages" in Path(spec.origin or "").parts:
            return None
        return spec


sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTorch
