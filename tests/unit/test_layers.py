# SPDX-License-Identifier: GPL-3.0-or-later
"""The folders of wan_blender are its layers: each may import those above it in the list."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "wan_blender"
STDLIB, NUMPY, RAY, BPY, TORCH = "stdlib", "numpy", "ray", "bpy", "torch"
# folder -> what its files may import besides the standard library, from the lowest layer up
LAYERS = {
    "core": STDLIB,
    "model_info": STDLIB,
    "masks": NUMPY,
    "light": NUMPY,
    "schedule": NUMPY,
    "hygiene": NUMPY,
    "process": STDLIB,
    "install": STDLIB,
    "farm": RAY,
    "timeline": BPY,
    "host": BPY,
    "batch": BPY,
    "matrix_view": BPY,
    "operators": BPY,
    "panels": BPY,
    "addon": BPY,
    "__init__": STDLIB,
}
NOT = {"panels": {"operators"}}  # though they stand above
ENGINE = {
    "core",
    "model_info",
    "masks",
    "light",
    "schedule",
    "hygiene",
    "farm",
    "engine",
    "__init__",
}
BLENDER = {"bpy", "bpy_extras", "bl_ui", "bl_operators", "addon_utils", "mathutils", "gpu", "blf"}
FILES = sorted(PACKAGE.rglob("*.py"))


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Absolute dotted names of all that ``path`` imports, inside functions too."""
    package = ("wan_blender", *path.relative_to(PACKAGE).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def inner(path: Path) -> set[str]:
    """The layers that ``path`` imports."""
    names = [name.split(".") for name in imports(path)]
    known = {layer(file) for file in FILES}
    return {name[1] for name in names if name[0] == "wan_blender" and name[1] in known}


def may_import(here: str) -> set[str]:
    if here == "engine":
        return ENGINE
    order = list(LAYERS)
    return set(order[: order.index(here) + 1]) - NOT.get(here, set()) | {"__init__"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_file_imports_only_what_stands_above_it(path):
    here, roots = layer(path), {name.partition(".")[0] for name in imports(path)}
    assert inner(path) <= may_import(here)
    kind = LAYERS.get(here, TORCH)
    if kind != BPY:
        assert not roots & BLENDER
    if kind != TORCH:
        assert "torch" not in roots
    if kind in (STDLIB, NUMPY, RAY):
        allowed = set(sys.stdlib_module_names) | {"wan_blender", "__future__"}
        assert roots <= allowed | ({kind} - {STDLIB})


def test_only_folders_and_the_entry_lie_in_the_package():
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "addon.py"}


def test_only_a_click_runs_our_operators():
    """A call through ``bpy.ops`` would be an arrow upwards, hidden behind a string."""
    below = [path for path in FILES if layer(path) not in ("operators", "panels")]
    assert not [str(p) for p in below if "ops.wan." in p.read_text(encoding="utf-8")]


def test_no_two_modules_import_each_other():
    """Also not inside functions: a circle is one module in two files."""
    names = {
        ".".join(("wan_blender", *f.relative_to(PACKAGE).with_suffix("").parts)): f for f in FILES
    }
    names = {name.removesuffix(".__init__"): file for name, file in names.items()}
    arrows = {}
    for name, file in names.items():
        found = {n if n in names else n.rpartition(".")[0] for n in imports(file)} & set(names)
        arrows[name] = found - {name}
    while arrows:
        free = [name for name, to in arrows.items() if not to & set(arrows)]
        assert free, f"a circle among {sorted(arrows)}"
        for name in free:
            del arrows[name]


@pytest.mark.parametrize("module", ["cli.hygiene", "doctor"])
def test_short_calls_of_the_engine_do_not_wait_for_torch(module):
    """Blender asks them while someone paints; torch and diffusers take seconds to import."""
    code = f"import sys, wan_blender.engine.{module}; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_reader_sees_relative_and_nested_imports(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "panels").mkdir()
    file = tmp_path / "panels" / "x.py"
    file.write_text("def f():\n from ..operators import a\n from .. import job\n import torch.nn")
    expected = {"wan_blender.operators.a", "wan_blender.job", "torch.nn"}
    assert imports(file) == expected
