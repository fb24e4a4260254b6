# SPDX-License-Identifier: GPL-3.0-or-later
"""The import rules of docs/architecture.md, read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "wan_blender"
BPY = {"bpy", "bpy_extras", "bl_ui", "bl_operators", "addon_utils", "mathutils", "gpu", "blf"}
BPY_PARTS = {
    "addon", "event_pump", "forecast", "headless", "hygiene_view", "interface", "library",
    "mask_view", "operators", "outlook", "panels", "preferences", "properties", "session", "tasks",
    "timeline",
}  # fmt: skip
STDLIB_ONLY = {
    "claim", "core", "diagnosis", "engine_call", "engine_env", "errors", "file_names", "folders",
    "installation", "installer", "interrupts", "network", "offline", "process", "protocol",
    "recipe", "schema", "transfer", "wheels",
}  # fmt: skip
NUMPY_ONLY = {
    "latent_grid", "mask_notes", "hygiene", "crop", "mask_preview", "schedule", "schedule_check",
    "schedule_rules", "schedule_run", "early_check", "model_folder", "stages", "traits",
}  # fmt: skip
SHARED = {
    "claim", "core", "crop", "errors", "file_names", "hygiene", "job", "latent_grid", "mask_notes",
    "mask_preview", "model_folder", "network", "protocol", "schedule", "schedule_check", "schema",
    "stages", "traits", "transfer",
}  # fmt: skip
TIMELINE = SHARED | {"timeline"}
SESSION = TIMELINE | {
    "early_check", "interface", "process", "interrupts", "local_job", "session",
}  # fmt: skip
INTERFACE = SESSION | {
    "answer", "diagnosis", "engine_env", "event_pump", "forecast", "hygiene_view", "installation",
    "library", "mask_view", "outlook", "printed_progress", "preferences", "properties", "tasks",
}  # fmt: skip
# part of the package -> parts it may import
ALLOWED = {
    "core": {"core"},
    "errors": set(),
    "claim": {"errors"},
    "protocol": {"errors"},
    "schema": {"errors"},
    "job": {"errors", "schema", "latent_grid"},
    "latent_grid": {"errors"},
    "crop": {"job", "latent_grid", "model_folder"},
    "model_folder": {"job"},
    "mask_preview": {"crop", "job", "latent_grid", "mask_notes"},
    "mask_notes": {"crop", "job", "latent_grid"},
    "schedule": {"errors"},
    "stages": {"errors", "job", "schedule"},
    "traits": {"crop", "errors"},
    "file_names": set(),
    "schedule_check": {"errors", "job", "schedule_rules", "schedule_run", "stages", "traits"},
    "schedule_rules": {"file_names", "schedule", "schedule_run", "stages"},
    "schedule_run": {"file_names", "job", "schedule", "stages", "traits"},
    "hygiene": {"errors", "hygiene"},
    "process": {"errors", "protocol"},
    "engine_env": {"errors", "folders", "process", "installer", "offline", "recipe", "wheels"},
    "installer": {"errors", "process"},
    "network": {"errors"},
    "transfer": {"claim", "errors", "network"},
    "folders": set(),
    "offline": {"errors", "folders", "installer", "recipe", "wheels"},
    "recipe": set(),
    "wheels": {"errors", "installer", "recipe", "transfer"},
    "engine_call": {"errors", "process"},
    "diagnosis": {"engine_call", "errors"},
    "interrupts": set(),
    "engine": SHARED | {"engine"},
    "timeline": TIMELINE,
    "local_job": TIMELINE,
    "session": SESSION,
    "early_check": {"errors", "job", "model_folder", "stages"},
    "answer": {"errors", "job", "local_job"},
    "interface": set(),
    "event_pump": {"errors", "interface", "session"},
    "printed_progress": {"local_job"},
    "installation": {"engine_env", "errors", "offline", "recipe"},
    "preferences": {"diagnosis", "engine_env", "installation", "interface", "process"},
    "properties": TIMELINE,
    "hygiene_view": TIMELINE | {"engine_call", "interface", "library", "mask_view", "properties"},
    "library": {
        "crop",
        "engine_call",
        "errors",
        "interface",
        "job",
        "model_folder",
        "traits",
    },
    "mask_view": TIMELINE | {"interface", "library", "properties"},
    "outlook": TIMELINE | {"library", "mask_view", "properties"},
    "forecast": {"engine_call", "errors", "interface", "outlook", "schema"},
    "tasks": TIMELINE | {"properties"},
    "operators": INTERFACE | {"operators"},
    "panels": INTERFACE | {"panels"},
    "headless": INTERFACE | {"engine_call"},
    "addon": INTERFACE | {"operators", "panels", "headless"},
    "__init__": set(),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
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
    """Parts of this package that ``path`` imports."""
    names = [name.split(".") for name in imports(path)]
    known = {part(file) for file in FILES}
    return {name[1] for name in names if name[0] == "wan_blender" and name[1] in known}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_file_imports_only_what_its_part_may(path):
    here, roots = part(path), {name.partition(".")[0] for name in imports(path)}
    assert inner(path) <= ALLOWED[here] | {here, "core"}
    if here not in BPY_PARTS:
        assert not roots & BPY
    if here != "engine":
        assert "torch" not in roots
    if here in STDLIB_ONLY:
        assert roots <= set(sys.stdlib_module_names) | {"wan_blender", "__future__"}
    if here in NUMPY_ONLY:
        assert roots <= set(sys.stdlib_module_names) | {"wan_blender", "numpy"}


@pytest.mark.parametrize("module", ["hygiene.command", "doctor"])
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
