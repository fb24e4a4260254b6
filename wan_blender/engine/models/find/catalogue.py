# SPDX-License-Identifier: GPL-3.0-or-later
"""The models that can be fetched, read from catalogue.toml. stdlib only."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ....core.errors import BadRequest

_FILE = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a Hugging Face repository; ``revision`` is a branch, tag or commit. Size 0 and an
    empty hash are not known beforehand."""

    repository: str
    path: str
    revision: str = "main"
    size: int = 0
    sha256: str = ""
    part: str = ""  # which part of a model it is
    git_oid: str = ""  # where there is no SHA-256


@dataclass(frozen=True)
class Entry:
    """A model: a whole ``repository`` in diffusers layout, or ``files`` that make one up."""

    key: str
    title: str
    licence: str
    kind: str
    parameters_b: float  # billions, both experts and VACE included
    tasks: tuple[str, ...]
    sizes: tuple[str, ...]
    frames: int
    fps: int
    steps: int
    shift: float
    guidance: float
    source: str
    repository: str = ""
    revision: str = "main"
    boundary: float | None = None
    guidance_low: float | None = None
    loras: tuple[str, ...] = ()
    files: tuple[RemoteFile, ...] = field(default=())


@dataclass(frozen=True)
class LoraEntry:
    key: str
    title: str
    licence: str
    expert: str
    file: RemoteFile


@dataclass(frozen=True)
class PartEntry:
    """A file that a model of single files may lack; ``fills`` is how that is worded."""

    key: str
    title: str
    licence: str
    fills: str
    file: RemoteFile


@functools.cache
def catalogue() -> dict[str, Entry]:
    """Key -> model, in the order of the file."""
    data = _read()
    return {key: _entry(key, entry, data["shared"]) for key, entry in data["models"].items()}


@functools.cache
def lora_catalogue() -> dict[str, LoraEntry]:
    return {
        key: LoraEntry(
            key,
            entry["title"],
            entry["licence"],
            entry["expert"],
            _file(entry),
        )
        for key, entry in _read()["loras"].items()
    }


@functools.cache
def part_catalogue() -> dict[str, PartEntry]:
    return {
        key: PartEntry(key, entry["title"], entry["licence"], entry["fills"], _file(entry))
        for key, entry in _read()["shared"].items()
    }


def find_entry(key: str) -> Entry:
    """Raises BadRequest that lists the known keys."""
    if key not in catalogue():
        raise BadRequest(f"There is no model {key!r}.", f"Known: {', '.join(catalogue())}.")
    return catalogue()[key]


def _read() -> dict[str, Any]:
    with open(_FILE, "rb") as file:
        return tomllib.load(file)


def _entry(key: str, data: dict[str, Any], shared: dict[str, Any]) -> Entry:
    files = [_file(shared.get(file.get("shared"), {}) | file) for file in data.get("files", ())]
    lists = {k: tuple(data[k]) for k in ("tasks", "sizes", "loras") if k in data}
    return Entry(key=key, **(data | lists | {"files": tuple(files)}))


def _file(entry: dict[str, Any]) -> RemoteFile:
    known = {field.name for field in fields(RemoteFile)}
    return RemoteFile(**{name: value for name, value in entry.items() if name in known})
