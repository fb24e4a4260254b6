# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are readable in one sitting, and functions on one page."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "wan_blender"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULE_LINES, FUNCTION_LINES = 400, 50


def test_modules_are_short():
    lines = {str(path.relative_to(PACKAGE)): len(_text(path).splitlines()) for path in FILES}
    assert {name: count for name, count in lines.items() if count > MODULE_LINES} == {}


def test_functions_are_short():
    found = {}
    for path in FILES:
        for node in ast.walk(ast.parse(_text(path))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                count = node.end_lineno - node.lineno + 1
                if count > FUNCTION_LINES:
                    found[f"{path.relative_to(PACKAGE)}:{node.name}"] = count
    assert found == {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
