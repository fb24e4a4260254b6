# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests lie where the code lies that they test: tests/unit/masks/test_reduce.py is about
wan_blender/masks/reduce.py, and so is test_reduce_anything.py beside it."""

from pathlib import Path

REPO = Path(__file__).parents[2]
# What each ring of tests mirrors; a test file of a folder's name is about the whole folder.
ROOTS = {
    "tests/unit": ("wan_blender", "."),
    "tests/engine": ("wan_blender/engine", "."),
    "tests/worker": ("wan_blender/engine",),
    "tests/blender": ("wan_blender", "."),
    "tests/farm": ("wan_blender/farm",),
}
EXCEPTIONS = {
    "tests/unit/test_layers.py": "about all folders",
    "tests/unit/test_tree.py": "about the tests",
    "tests/unit/test_size.py": "about all modules",
    "tests/unit/test_links.py": "about the pages",
    "tests/engine/test_registries.py": "compares settings with what is registered in every folder",
    "tests/engine/models/test_broken_models.py": "a campaign",
    "tests/engine/models/test_hostile_servers.py": "a campaign",
}


def counterparts(test: Path) -> list[Path]:
    """The modules and folders that ``test`` (from the repository's root) may be about."""
    ring = "/".join(test.parts[:2])
    words = test.stem.split("_")[1:]
    names = ["_".join(words[:count]) for count in range(1, len(words) + 1)]
    found = []
    for root in ROOTS[ring]:
        folder = REPO / root / test.parent.relative_to(ring)
        found += [folder / f"{name}.py" for name in names] + [folder / name for name in names]
        found += [folder for name in names if folder.name == name]
    return [path for path in found if path.exists()]


def test_every_test_lies_where_its_module_does():
    tests = [path.relative_to(REPO) for path in (REPO / "tests").rglob("test_*.py")]
    tests = [path for path in tests if path.parts[1] != "gui"]  # of windows, not of modules
    assert len(tests) > 80
    lost = [str(path) for path in tests if not counterparts(path)]
    assert sorted(lost) == sorted(EXCEPTIONS)
