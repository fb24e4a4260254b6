# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths in a job that was exported on another machine, as this one calls them. stdlib only.

    WAN_BLENDER_PATHS="/srv/models=M:\\models;/films=/mnt/films"

The longest beginning that fits is replaced, by whole folders; without the variable nothing is.
"""

from __future__ import annotations

import os
from dataclasses import fields, is_dataclass, replace
from typing import Any

from . import schema
from .errors import InvalidJob
from .settings import Job

VARIABLE = "WAN_BLENDER_PATHS"


def read_moves(text: str) -> list[tuple[str, str]]:
    """(from, to) in the order to try them. Raises InvalidJob that quotes what has no "="."""
    moves = []
    for pair in filter(None, (part.strip() for part in text.split(";"))):
        old, equals, new = pair.partition("=")
        if not (old and equals and new):
            raise InvalidJob(
                f"{VARIABLE} has {schema.show(pair)}, which is not FROM=TO.",
                'Write "FROM=TO;FROM=TO".',
            )
        moves.append((_slashes(old).rstrip("/"), new.rstrip("/\\")))
    return sorted(moves, key=lambda move: len(move[0]), reverse=True)


def move(path: str, moves: list[tuple[str, str]]) -> str:
    """``path`` as this machine calls it."""
    plain = _slashes(path)
    for old, new in moves:
        if plain == old or plain.startswith(f"{old}/"):
            rest = plain[len(old) :]
            return new + (rest.replace("/", "\\") if "\\" in new else rest)
    return path


def move_paths(job: Job) -> Job:
    """``job`` with its paths moved as the variable says. Raises InvalidJob."""
    moves = read_moves(os.environ.get(VARIABLE, ""))
    return _moved(job, moves) if moves else job


def _moved(value: Any, moves: list[tuple[str, str]]) -> Any:
    changed: dict[str, Any] = {}
    for field in fields(value):
        held, rules = getattr(value, field.name), field.metadata
        if is_dataclass(held):
            changed[field.name] = _moved(held, moves)
        elif rules.get("kind") == "text" and rules["subtype"] in ("path", "file"):
            changed[field.name] = move(held, moves)
        elif rules.get("kind") == "many" and is_dataclass(rules["item"]):
            changed[field.name] = [_moved(item, moves) for item in held]
    return replace(value, **changed)


def _slashes(path: str) -> str:
    return path.replace("\\", "/")
