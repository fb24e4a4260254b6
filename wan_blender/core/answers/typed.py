# SPDX-License-Identifier: GPL-3.0-or-later
"""Dataclasses to JSON and back, for answers that another version, or somebody else, may have
written.

- A field that this version does not know is ignored.
- A field that is missing takes its default. One without a default is required.
- A part that may be absent (``Part | None``) and does not fit is taken for absent.
- Anything else that does not fit raises ValueError, which names the field, what it holds and what
  is expected.

None is not written: absent and not measured are one. stdlib only.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from ..schema import field_types, show

T = TypeVar("T")
Reader = Callable[[Any], Any]


def entry(about: str, default: Any = dataclasses.MISSING) -> Any:
    """A field of an answer: ``about`` says what it is, for docs/reference."""
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata={"about": about})
    return dataclasses.field(default=default, metadata={"about": about})


def to_json(value: Any) -> Any:
    """``value`` as ``json.dump`` takes it."""
    if dataclasses.is_dataclass(value):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: to_json(held) for name, held in pairs if held is not None}
    if isinstance(value, dict):
        return {str(key): to_json(held) for key, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(held) for held in value]
    return str(value) if isinstance(value, Path) else value


def read(cls: type[T], data: Any, where: str) -> T:
    """``data``, as JSON gives it, as a ``cls``; ``where`` is what an error calls it. Raises
    ValueError."""
    kind: Any = cls
    try:
        value: T = _reader(kind)(data)
    except _Misfit as misfit:
        at = where + "".join(reversed(misfit.path))
        raise ValueError(f"{at} {misfit.fault}") from None
    return value


class _Misfit(Exception):
    """``path`` grows on the way up, so that what fits costs no text."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault
        self.path: list[str] = []


def _expected(data: Any, what: str) -> _Misfit:
    return _Misfit(f"is {show(data)}; expected {what}")


@functools.cache
def _reader(kind: Any) -> Reader:
    if dataclasses.is_dataclass(kind):
        return functools.partial(_read_object, kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, inside = get_origin(kind), get_args(kind)
    if origin is types.UnionType:
        (held,) = (one for one in inside if one is not types.NoneType)
        lenient = dataclasses.is_dataclass(held)
        return functools.partial(_read_optional, _reader(held), lenient)
    readers = [_reader(one) for one in inside if one is not Ellipsis]
    if origin is dict:
        return functools.partial(_read_dict, readers[1])
    if origin is list:
        return functools.partial(_read_list, readers[0])
    if origin is tuple and Ellipsis in inside:
        return lambda data: tuple(_read_list(readers[0], data))
    if origin is tuple:
        return functools.partial(_read_tuple, readers)
    raise TypeError(f"{kind} is not read from JSON")


def _read_object(cls: Any, data: Any) -> Any:
    if not isinstance(data, dict):
        raise _expected(data, "an object")
    types_, values = field_types(cls), {}
    for field in dataclasses.fields(cls):
        name, kind = field.name, types_[field.name]
        if name in data:
            values[name] = _at(f".{name}", _reader(kind), data[name])
        elif types.NoneType in get_args(kind):
            values[name] = None
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise _Misfit(f"has no {name!r}")
    return cls(**values)


def _at(place: str, reader: Reader, data: Any) -> Any:
    try:
        return reader(data)
    except _Misfit as misfit:
        misfit.path.append(place)
        raise


def _read_optional(reader: Reader, lenient: bool, data: Any) -> Any:
    if data is None:
        return None
    try:
        return reader(data)
    except _Misfit:
        if lenient:
            return None
        raise


def _read_dict(reader: Reader, data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _expected(data, "an object")
    return {key: _at(f"[{show(key)}]", reader, held) for key, held in data.items()}


def _read_list(reader: Reader, data: Any) -> list[Any]:
    if not isinstance(data, (list, tuple)):
        raise _expected(data, "a list")
    return [_at(f"[{index}]", reader, held) for index, held in enumerate(data)]


def _read_tuple(readers: list[Reader], data: Any) -> tuple[Any, ...]:
    if not isinstance(data, (list, tuple)) or len(data) != len(readers):
        raise _expected(data, f"a list of {len(readers)}")
    return tuple(reader(held) for reader, held in zip(readers, data, strict=True))


def _read_float(data: Any) -> float:
    if isinstance(data, (int, float)) and not isinstance(data, bool):
        try:
            number = float(data)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise _expected(data, "a number")


def _read_int(data: Any) -> int:
    if isinstance(data, int) and not isinstance(data, bool):
        return data
    raise _expected(data, "a whole number")


def _read_bool(data: Any) -> bool:
    if isinstance(data, bool):
        return data
    raise _expected(data, "true or false")


def _read_str(data: Any) -> str:
    if isinstance(data, str):
        return data
    raise _expected(data, "text")


_PLAIN: dict[Any, Reader] = {
    Any: lambda data: data,
    float: _read_float,
    int: _read_int,
    bool: _read_bool,
    str: _read_str,
    Path: lambda data: Path(_read_str(data)),
}
