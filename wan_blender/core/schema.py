# SPDX-License-Identifier: GPL-3.0-or-later
"""Dataclasses that describe themselves: one definition serves job.json, panel and command line.

A settings class declares its fields with ``number``, ``integer``, ``text``, ``choice``, ``flag``
or ``many``. From that come: validation that names the field (``from_dict``), JSON (``to_dict``),
Blender properties (properties.py walks ``settings``) and ``--set group.name=value``
(``assign``). stdlib only.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import reprlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, get_type_hints

from .errors import InvalidJob

T = TypeVar("T")


def _setting(default: Any, about: str, **rules: Any) -> Any:
    return dataclasses.field(default=default, metadata={"about": about, **rules})


def number(default: float, about: str, low: float, high: float, unit: str = "") -> Any:
    return _setting(default, about, kind="number", low=low, high=high, unit=unit)


def integer(default: int, about: str, low: int, high: int, unit: str = "") -> Any:
    return _setting(default, about, kind="integer", low=low, high=high, unit=unit)


LONGEST_TEXT = 20_000  # characters: 512 tokens are a tenth of it, a path less
MOST_ITEMS = 20_000


def text(default: str, about: str, subtype: str = "") -> Any:
    """``subtype``: "", "path" (a folder), "file", "matte" or "multiline"; only the interface uses
    it."""
    return _setting(default, about, kind="text", subtype=subtype)


def choice(default: str, about: str, choices: dict[str, str]) -> Any:
    """``choices`` maps each allowed value to its one-line description."""
    return _setting(default, about, kind="choice", choices=choices)


def flag(default: bool, about: str) -> Any:
    return _setting(default, about, kind="flag")


def many(item: type, about: str, low: float | None = None, high: float | None = None) -> Any:
    """A list of ``item``: a settings class, str, int, or float; numbers lie in ``low``..``high``
    where these are given."""
    rules = {"about": about, "kind": "many", "item": item, "low": low, "high": high}
    return dataclasses.field(default_factory=list, metadata=rules)


def settings(cls: type) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, metadata with ``default``) of every leaf setting declared on ``cls``."""
    for field in dataclasses.fields(cls):
        if "kind" in field.metadata:
            yield field.name, {"default": field.default, **field.metadata}


@functools.cache
def field_types(cls: type) -> dict[str, Any]:
    """Name to type of the fields of ``cls``; kept, because compiling annotations takes 10 ms."""
    return get_type_hints(cls)


def to_dict(value: Any) -> dict[str, Any]:
    return dataclasses.asdict(value)


def from_dict(cls: type[T], data: Any, where: str) -> T:
    """Build ``cls`` from JSON data. Raises InvalidJob naming the dotted field, what it holds
    and what is expected. Missing fields take their defaults where they have one."""
    if not isinstance(data, dict):
        raise InvalidJob(f"{where} is {show(data)}; expected an object.")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(fields)}."
            raise InvalidJob(f"{where} has no field {show(key)}.", hint)
    types = field_types(cls)  # type: ignore[arg-type]
    values = {}
    for name, field in fields.items():
        path = f"{where}.{name}"
        if name in data:
            values[name] = _read(field, types[name], data[name], path)
        elif _is_required(field):
            raise InvalidJob(f"{path} is missing.")
    return cls(**values)


def assign(value: Any, path: str, raw: str) -> None:
    """Set ``path`` ("sampling.steps") of a settings object from the text ``raw``. A list is written
    as in JSON; one of numbers also with commas alone."""
    owner, field = _find_leaf(value, path)
    setattr(owner, field.name, _read_leaf(field.metadata, _parse(raw, field), path))


def parse(value: Any, path: str, raw: str) -> Any:
    """What the text ``raw`` means for the setting ``path``, as ``put`` takes it. Raises InvalidJob
    where there is no such setting."""
    return _parse(raw, _find_leaf(value, path)[1])


def put(value: Any, path: str, data: Any) -> Any:
    """Set ``path`` of a settings object to ``data``, as JSON or TOML give it; what it then is, as
    JSON holds it."""
    owner, field = _find_leaf(value, path)
    taken = _read_leaf(field.metadata, data, path)
    setattr(owner, field.name, taken)
    if isinstance(taken, list):
        return [to_dict(item) if dataclasses.is_dataclass(item) else item for item in taken]
    return taken


def map_paths(cls: type, path: str, data: Any, change: Callable[[str], str]) -> Any:
    """``data`` of the setting ``path`` of ``cls``, as JSON holds it, with each path to a file or a
    folder in it changed."""
    name, _, rest = path.partition(".")
    if rest:
        return map_paths(field_types(cls)[name], rest, data, change)
    rules = {f.name: f.metadata for f in dataclasses.fields(cls)}[name]
    if rules["kind"] == "text" and rules["subtype"] in ("path", "file"):
        return change(data)
    if rules["kind"] == "many" and dataclasses.is_dataclass(rules["item"]):
        kind: Any = rules["item"]
        return [{key: map_paths(kind, key, one[key], change) for key in one} for one in data]
    return data


def _find_leaf(value: Any, path: str) -> tuple[Any, dataclasses.Field[Any]]:
    """The object that holds the setting ``path``, and its field. Raises InvalidJob."""
    leaves = _leaves(value)
    if path not in leaves:
        near = difflib.get_close_matches(path, leaves, 1)
        hint = f"Did you mean {near[0]!r}?" if near else ""
        if inside := [leaf for leaf in leaves if leaf.startswith(f"{path}.")]:
            hint = f"It is a group of settings: {', '.join(inside)}."
        raise InvalidJob(f"There is no setting {show(path)}.", hint)
    return leaves[path]


def _leaves(value: Any, start: str = "") -> dict[str, tuple[Any, dataclasses.Field[Any]]]:
    """Each setting inside of ``value`` by its dotted name: the object it is on, and its field."""
    found = {}
    for field in dataclasses.fields(value):
        if "kind" in field.metadata:
            found[start + field.name] = (value, field)
        else:
            found |= _leaves(getattr(value, field.name), f"{start}{field.name}.")
    return found


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _read(field: dataclasses.Field[Any], type_: Any, data: Any, path: str) -> Any:
    if dataclasses.is_dataclass(type_):
        return from_dict(type_, data, path)  # type: ignore[arg-type]
    return _read_leaf(field.metadata, data, path)


def _read_leaf(rules: Any, data: Any, path: str) -> Any:
    kind = rules["kind"]
    if kind == "flag" and isinstance(data, bool):
        return data
    if kind == "text" and isinstance(data, str):
        return _read_text(data, path)
    if kind == "choice":
        if isinstance(data, str) and data in rules["choices"]:
            return data
        raise InvalidJob(f"{path} is {show(data)}; expected one of: {', '.join(rules['choices'])}.")
    if kind in ("number", "integer") and _is_number(data, kind):
        _check_limits(rules, data, path)
        return float(data) if kind == "number" else int(data)
    if kind == "many" and isinstance(data, list):
        if len(data) > MOST_ITEMS:
            raise InvalidJob(f"{path} has {len(data):,} entries; at most {MOST_ITEMS:,} are read.")
        return [_read_item(rules, item, f"{path}[{i}]") for i, item in enumerate(data)]
    raise InvalidJob(f"{path} is {show(data)}; expected {_EXPECTED[kind]}.")


def _check_limits(rules: Any, data: float, path: str) -> None:
    if not rules["low"] <= data <= rules["high"]:
        unit = f" {rules['unit']}" if rules.get("unit") else ""
        raise InvalidJob(
            f"{path} is {show(data)}; expected {rules['low']} to {rules['high']}{unit}."
        )


_EXPECTED = {
    "many": "a list as in JSON",
    "flag": "true or false",
    "text": "text",
    "integer": "an integer",
    "number": "a number",
}


def _read_item(rules: Any, data: Any, path: str) -> Any:
    item = rules["item"]
    if rules["low"] is not None and _is_number(data, "number"):
        _check_limits(rules, data, path)
    if dataclasses.is_dataclass(item):
        return from_dict(item, data, path)  # type: ignore[arg-type]
    if item is float and _is_number(data, "number") and abs(data) <= sys.float_info.max:
        return float(data)
    if item is str and isinstance(data, str):
        return _read_text(data, path)
    if item is int and _is_number(data, "integer"):
        return data
    raise InvalidJob(f"{path} is {show(data)}; expected {item.__name__}.")


def _read_text(data: str, path: str) -> str:
    """JSON can spell half a character, which no file and no model takes."""
    if len(data) > LONGEST_TEXT:
        raise InvalidJob(
            f"{path} has {len(data):,} characters; at most {LONGEST_TEXT:,} are read.",
            "Shorten it: models read the first few hundred words.",
        )
    try:
        data.encode()
    except UnicodeEncodeError as error:
        raise InvalidJob(
            f"{path} is {show(data)}; character {error.start + 1} is not Unicode text."
        ) from error
    return data


def _is_number(data: Any, kind: str) -> bool:
    if isinstance(data, int):
        return not isinstance(data, bool)
    return kind == "number" and isinstance(data, float) and math.isfinite(data)


def _parse(raw: str, field: dataclasses.Field[Any]) -> Any:
    kind = field.metadata["kind"]
    try:
        if kind == "integer":
            return int(raw)
        if kind == "number":
            return float(raw)
        if kind == "many" and raw.lstrip().startswith("["):
            return json.loads(raw)
        if kind == "many" and field.metadata["item"] in (int, float):
            return [field.metadata["item"](part) for part in raw.split(",") if part.strip()]
    except (TypeError, ValueError, RecursionError):
        return raw  # the reader below says what was expected
    if kind == "flag":
        return {"true": True, "1": True, "false": False, "0": False}.get(raw.lower(), raw)
    return raw


def show(data: Any) -> str:
    """``data`` as a message quotes it: 80 characters at most, however large or deep it is."""
    shown = _brief.repr(data)
    return shown if len(shown) <= 80 else shown[:77] + "..."


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80
