# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m tools.report_reference: write docs/reference/report.md from the dataclasses of the
report, whose fields say what they are."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from wan_blender.core.answers.report import Report
from wan_blender.core.schema import field_types

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "report.md"
HEAD = """# report.json

What a run tells of itself, in the `result` folder of its job. Made by `make reference` from
`wan_blender/core/answers/`, where each field is declared.

What was not measured is absent, and so is every part that the run had no use for. wan_blender reads
the reports of other versions: fields that it does not know are ignored, missing ones take their
default, and a part that does not fit is taken for absent.
"""
WORDS = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}


def page() -> str:
    parts = list(dict.fromkeys(_parts(Report)))
    return HEAD + "".join(_section(part) for part in parts)


def _parts(cls: Any) -> Iterator[Any]:
    """``cls`` and the dataclasses that its fields hold, in the order of the fields."""
    yield cls
    for kind in field_types(cls).values():
        for held in _held(kind):
            yield from _parts(held)


def _held(kind: Any) -> Iterator[Any]:
    if dataclasses.is_dataclass(kind):
        yield kind
    for inside in get_args(kind):
        yield from _held(inside)


def _section(cls: Any) -> str:
    title = "The report" if cls is Report else cls.__name__
    lines = [f"\n## {title}\n"]
    about = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    if about and not about.startswith(f"{cls.__name__}("):
        lines.append(" ".join(about.split()) + "\n")
    lines += ["| field | what it is | type |", "|---|---|---|"]
    kinds = field_types(cls)
    for field in dataclasses.fields(cls):
        lines.append(f"| `{field.name}` | {field.metadata['about']} | {_type(kinds[field.name])} |")
    return "\n".join(lines) + "\n"


def _type(kind: Any) -> str:
    if dataclasses.is_dataclass(kind):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    inside = [one for one in get_args(kind) if one not in (types.NoneType, Ellipsis)]
    if isinstance(kind, types.UnionType):
        return _type(inside[0])
    origin = getattr(kind, "__origin__", None)
    if origin is dict:
        return f"{_type(inside[1])} by name" if inside[1] is not Any else "object"
    if origin is tuple and Ellipsis in get_args(kind):
        return f"list of {_type(inside[0])}"
    if origin is tuple:
        names = [_type(one) for one in inside]
        return " and ".join(names) if len(set(names)) > 1 else f"{len(names)} {names[0]}s"
    return WORDS[kind.__name__]


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
