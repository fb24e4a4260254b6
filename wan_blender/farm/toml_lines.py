# SPDX-License-Identifier: GPL-3.0-or-later
"""Where in a TOML file a value stands. tomllib gives values without their lines. stdlib only."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]  # keys, and places in arrays of tables


class Lines:
    """The line of each key in ``text``, which is valid TOML; ``nowhere`` for what it has not."""

    def __init__(self, text: str, nowhere: int = 1) -> None:
        self._nowhere = nowhere
        self._lines: dict[Path, int] = {}
        counts: dict[Path, int] = {}
        table: Path = ()
        for number, statement in _statements(text):
            stripped = statement.lstrip()
            if stripped.startswith("[["):
                table = _follow(_keys(statement), counts)
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
                self._lines[table] = number
            elif stripped.startswith("["):
                table = _follow(_keys(statement), counts)
                self._lines.setdefault(table, number)
            else:
                keys = (*table, *_keys(statement))
                for length in range(len(table) + 1, len(keys) + 1):
                    self._lines.setdefault(keys[:length], number)

    def find(self, *path: str | int) -> int:
        """The line of the value at ``path``, or of the nearest that holds it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, self._nowhere)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each header and each assignment. A statement ends with the first line that
    makes it valid by itself; only arrays and long strings need more than one."""
    held, began = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not held and (not line.strip() or line.lstrip().startswith("#")):
            continue
        began = began or number
        held += line + "\n"
        if held.count("\n") > 1 and not any(end in line for end in ("]", '"""', "'''")):
            continue
        try:
            tomllib.loads(held)
        except tomllib.TOMLDecodeError:
            continue
        yield began, held
        held, began = "", 0


def _keys(statement: str) -> Path:
    """The keys that a statement names, outermost first."""
    data: Any = tomllib.loads(statement)
    assigned = not statement.lstrip().startswith("[")
    keys: list[str | int] = []
    dots = _key_count(statement) if assigned else -1
    while data and isinstance(data, (dict, list)) and len(keys) != dots:
        if isinstance(data, list):
            data = data[-1]
            continue
        key = next(iter(data))
        keys.append(key)
        data = data[key]
    return tuple(keys)


def _key_count(statement: str) -> int:
    """How many keys stand before the "=" of an assignment."""
    for end, character in enumerate(statement):
        if character == "=":
            try:
                data: Any = tomllib.loads(f"{statement[:end]}= 0")
            except tomllib.TOMLDecodeError:
                continue  # it stands inside a quoted key
            count = 0
            while isinstance(data, dict):
                data, count = next(iter(data.values())), count + 1
            return count
    return 0


def _follow(keys: Path, counts: dict[Path, int]) -> Path:
    """``keys`` with the current place in each array of tables on the way, as TOML means a header
    below one."""
    path: Path = ()
    for number, key in enumerate(keys):
        path = (*path, key)
        if path in counts and number < len(keys) - 1:
            path = (*path, counts[path])
    return path
