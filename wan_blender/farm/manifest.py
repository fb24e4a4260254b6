# SPDX-License-Identifier: GPL-3.0-or-later
"""batch.toml: which shots, with which settings, in which variations. Pure; opens no .blend.

    version = 1
    [settings]                         # of all shots; names as in job.json and --set
    sampling.steps = 30
    [matrix]                           # each shot is made with each combination
    seeds = [1, 2, 3]                  # or "1-20"
    models = ["nano/vace", "models/wan"]
    settings = [{ hygiene.mode = "off" }, { hygiene.mode = "soft" }]
    sampling.guidance = [3.0, 5.0]     # any other setting
    [[shots]]
    blend = "harbour.blend"            # the open file where it is not named
    strip = "A001"                     # or strips = ["A001", "A002"]
    scene, mattes, task, prompt, negative, name, priority, settings, matrix   # optional

Paths are relative to the manifest. A job's folder is named after shot and seed, and by a digest of
all that the manifest says of it: repeating a batch finds the same folders, and a job that is asked
for differently is another job.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..core import schema
from ..core.errors import InvalidBatch, InvalidJob, from_os_error
from ..core.files import read_bytes
from ..core.job import WRITTEN
from ..core.settings import Job, Shot
from ..model_info.folder import is_bundled
from .toml_lines import Lines

VERSION = 1
BYTES = 16 << 20
CELLS = 100_000
SPAN = "span"  # a group of settings of the export, which the exporter checks
SEED, MODEL = "sampling.seed", "model.path"
AXES = {"seeds": SEED, "models": MODEL}
TOP = ("version", "settings", "matrix", "shots")
TEXTS = ("blend", "scene", "task", "prompt", "negative", "name")
SHOT = (*TEXTS, "strip", "strips", "mattes", "priority", "settings", "matrix")
PRIORITY = (-1000, 1000)

Settings = dict[str, Any]  # by dotted name, with values as in JSON


@dataclass(frozen=True)
class BatchShot:
    """One strip of one file. ``line`` is where the manifest names it."""

    name: str
    blend: str
    scene: str
    strip: str
    mattes: tuple[str, ...]
    task: str
    priority: int
    line: int

    @property
    def identity(self) -> list[Any]:
        return [self.blend, self.scene, self.strip, *self.mattes, self.task]


@dataclass(frozen=True)
class Cell:
    """One job. ``varied`` are the settings that the matrix gave it, ``settings`` all of them."""

    folder: str
    shot: BatchShot
    settings: Settings
    varied: Settings

    def resolved(self, base: Path) -> Settings:
        """Its settings with relative paths below ``base``, the manifest's folder."""
        return {path: _absolute(path, value, base) for path, value in self.settings.items()}


@dataclass(frozen=True)
class BatchPlan:
    path: Path
    shots: tuple[BatchShot, ...]
    cells: tuple[Cell, ...]

    @property
    def base(self) -> Path:
        return self.path.parent

    def blend(self, shot: BatchShot) -> Path | None:
        """The file of a shot; None for the one that is open."""
        return self.base / shot.blend if shot.blend else None

    def refuse(self, shot: BatchShot, error: Exception) -> NoReturn:
        """Raise InvalidBatch that names the line of ``shot``, for what its .blend does not hold."""
        _refuse(self.path, shot.line, str(getattr(error, "message", error)), _hint(error))


def read_manifest(path: Path) -> BatchPlan:
    """Read and check a manifest. Raises InvalidBatch that names file and line."""
    path = path.absolute()
    try:
        text = read_bytes(path, BYTES, links=True).decode("utf-8-sig")
    except OSError as error:
        raise from_os_error(error, "reading the batch") from error
    except UnicodeDecodeError as error:
        raise InvalidBatch(f"{path} is not text in UTF-8: {error}.", "Save it as UTF-8.") from error
    return parse(text, path)


def parse(text: str, path: Path) -> BatchPlan:
    """As ``read_manifest``, of ``text`` that stands or would stand in the file ``path``."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidBatch(f"{path} is not valid TOML: {error}.", "Correct that line.") from error
    return _Reader(path, data, Lines(text)).plan()


def from_data(data: dict[str, Any], path: Path) -> BatchPlan:
    """As ``parse``, of what a manifest would hold; errors name no line. Settings may be named by
    their dotted names."""
    return _Reader(path, data, Lines("", nowhere=0)).plan()


class _Reader:
    def __init__(self, path: Path, data: dict[str, Any], lines: Lines) -> None:
        self.path, self.data, self.lines = path, data, lines
        self.scratch = Job(Shot())  # what settings are tried on
        self.known: dict[str, Settings] = {}

    def plan(self) -> BatchPlan:
        self.check_keys((), self.data, TOP)
        version = self.data.get("version", VERSION)
        if version != VERSION:
            self.fail(
                ("version",),
                f"version is {schema.show(version)}; this version of wan_blender reads {VERSION}",
                "Write the batch for this version, or run it with the one it was written for.",
            )
        common = self.settings("settings")
        matrix = self.matrix("matrix")
        entries = self.data.get("shots")
        if not isinstance(entries, list) or not entries:
            self.fail(("shots",), "there are no shots", "Add a table [[shots]] with a strip.")
        shots: list[BatchShot] = []
        cells: dict[str, Cell] = {}
        for number in range(len(entries)):
            for shot in self.shots(number):
                shots.append(shot)
                for cell in self.cells(number, shot, common, matrix):
                    if cell.folder in cells:
                        other = cells[cell.folder].shot.line
                        self.fail(
                            ("shots", number),
                            f"{_describe(cell)} is asked for twice, here and in line {other}",
                            "Take one of them out, or let them differ.",
                        )
                    cells[cell.folder] = cell
                    if len(cells) > CELLS:
                        self.fail(("shots", number), f"the batch has more than {CELLS:,} jobs",
                                  "Split it.")  # fmt: skip
        return BatchPlan(self.path, tuple(shots), tuple(cells.values()))

    def shots(self, number: int) -> Iterator[BatchShot]:
        where = ("shots", number)
        entry = self.data["shots"][number]
        if not isinstance(entry, dict):
            self.fail(where, "a shot is a table", "Write [[shots]] above its lines.")
        self.check_keys(where, entry, SHOT)
        texts = {name: self.text(where, entry, name) for name in TEXTS}
        if texts["blend"] and not (self.path.parent / texts["blend"]).is_file():
            file = self.path.parent / texts["blend"]
            self.fail((*where, "blend"), f"there is no file {file}", "Name the shot's .blend.")
        mattes = self.texts((*where, "mattes"), entry.get("mattes", []))
        named = "strips" if "strips" in entry else "strip"
        strips = entry.get("strips", [entry["strip"]] if "strip" in entry else [])
        strips = self.texts((*where, named), strips)
        if not strips or ("strip" in entry and "strips" in entry):
            self.fail((*where, named), 'a shot has "strip" or "strips"', "Name the strip.")
        low, high = PRIORITY
        priority = entry.get("priority", 0)
        if type(priority) is not int or not low <= priority <= high:
            self.fail((*where, "priority"), f"priority is {schema.show(priority)}; expected "
                      f"{low} to {high}")  # fmt: skip
        for strip in strips:
            name = texts["name"] or f"{Path(texts['blend']).stem} {strip}"
            yield BatchShot(
                _slug(name if len(strips) == 1 or not texts["name"] else f"{name} {strip}"),
                texts["blend"], texts["scene"], strip, tuple(mattes), texts["task"], priority,
                self.lines.find(*where, named),
            )  # fmt: skip

    def cells(
        self, number: int, shot: BatchShot, common: Settings, matrix: dict[str, list[Settings]]
    ) -> Iterator[Cell]:
        where = ("shots", number)
        entry = self.data["shots"][number]
        own = common | self.settings(*where, "settings")
        for key, path in (("prompt", "prompt.text"), ("negative", "prompt.negative")):
            if key in entry:
                own[path] = self.value((*where, key), path, entry[key])
        axes = list((matrix | self.matrix(*where, "matrix")).items())
        if (count := math.prod(len(values) for _, values in axes)) > CELLS:
            self.fail((*where, "matrix"), f"the matrix makes {count:,} jobs of a shot; at most "
                      f"{CELLS:,} are taken")  # fmt: skip
        varies = [{path for patch in values for path in patch} for _, values in axes]
        for (one, first), (two, second) in itertools.combinations(zip(axes, varies), 2):
            if both := first & second:
                self.fail((*where, "matrix"), f"matrix.{one[0]} and matrix.{two[0]} both set "
                          f"{min(both)}")  # fmt: skip
        for patches in itertools.product(*(values for _, values in axes)):
            varied = {path: value for patch in patches for path, value in patch.items()}
            settings = own | varied
            yield Cell(_folder(shot, settings), shot, settings, varied)

    def matrix(self, *where: str | int) -> dict[str, list[Settings]]:
        """Each axis by its name: the settings that each of its values gives."""
        table, axes = self.table(where), {}
        for name, values in self.flat(table, where):
            here = (*where, *name.split("."))
            if name == "seeds" and isinstance(values, str):
                values = self.seeds(here, values)
            if not isinstance(values, list) or not values:
                self.fail(here, f"matrix.{name} is {schema.show(values)}; expected a list",
                          "List the values to try.")  # fmt: skip
            if name == "settings":
                axes[name] = [self.patch(here, value) for value in values]
            else:
                path = AXES.get(name, name)
                axes[name] = [{path: self.value(here, path, value)} for value in values]
        return axes

    def patch(self, where: tuple[str | int, ...], value: Any) -> Settings:
        if not isinstance(value, dict):
            self.fail(where, f"{schema.show(value)} is not a table of settings",
                      "Write { group.name = value }.")  # fmt: skip
        return {path: self.value(where, path, v) for path, v in self.flat(value, where)}

    def settings(self, *where: str | int) -> Settings:
        found = self.flat(self.table(where), where)
        return {path: self.value((*where, *path.split(".")), path, v) for path, v in found}

    def table(self, where: tuple[str | int, ...]) -> dict[str, Any]:
        table: Any = self.data
        for key in where:
            table = table.get(key, {}) if isinstance(key, str) else table[key]
        if not isinstance(table, dict):
            self.fail(where, f"{where[-1]} is {schema.show(table)}; expected a table")
        return table

    def flat(
        self, table: dict[str, Any], where: tuple[str | int, ...]
    ) -> Iterator[tuple[str, Any]]:
        """(dotted name, value) of what a table and the tables in it hold."""
        for key, value in table.items():
            if isinstance(value, dict):
                for name, inner in self.flat(value, (*where, key)):
                    yield f"{key}.{name}", inner
            else:
                yield key, value

    def value(self, where: tuple[str | int, ...], path: str, value: Any) -> Any:
        """``value`` as job.json will hold it in the setting ``path``."""
        group = path.partition(".")[0]
        if group == SPAN:
            return value
        if group in WRITTEN:
            self.fail(where, f"{path} is written by export and run, and cannot be set")
        try:
            return schema.put(self.scratch, path, value)
        except InvalidJob as error:
            self.fail(where, error.message.rstrip("."), error.hint)

    def seeds(self, where: tuple[str | int, ...], text: str) -> list[int]:
        match = re.fullmatch(r"\s*(\d{1,10})\s*-\s*(\d{1,10})\s*", text)
        first, last = map(int, match.groups()) if match else (1, 0)
        if not 0 <= last - first < CELLS:
            self.fail(where, f'seeds is {schema.show(text)}; expected a list or a range like "1-20"'
                      f" of at most {CELLS:,}")  # fmt: skip
        return list(range(first, last + 1))

    def text(self, where: tuple[str | int, ...], entry: dict[str, Any], name: str) -> str:
        return self.texts((*where, name), [entry.get(name, "")])[0]

    def texts(self, where: tuple[str | int, ...], values: Any) -> list[str]:
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            self.fail(where, f"{where[-1]} is {schema.show(values)}; expected text in quotes")
        return values

    def check_keys(
        self, where: tuple[str | int, ...], table: dict[str, Any], known: tuple[str, ...]
    ) -> None:
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
                self.fail((*where, key), f"{schema.show(key)} means nothing here", hint)

    def fail(self, where: tuple[str | int, ...], what: str, hint: str = "") -> NoReturn:
        _refuse(self.path, self.lines.find(*where), what, hint)


def _refuse(path: Path, line: int, what: str, hint: str) -> NoReturn:
    place = f"{path}, line {line}: " if line else ""
    raise InvalidBatch(f"{place}{what.rstrip('.')}.", hint)


def _hint(error: Exception) -> str:
    return getattr(error, "hint", "")


def _folder(shot: BatchShot, settings: Settings) -> str:
    """Two jobs of 100,000 have the same 48 bits by chance once in 50,000 batches; then one of them
    is refused as a duplicate."""
    said = json.dumps([shot.identity, sorted(settings.items())], ensure_ascii=False)
    digest = hashlib.sha256(said.encode()).hexdigest()[:12]
    seed = f"-s{settings[SEED]}" if SEED in settings else ""
    return f"{shot.name}{seed}-{digest}"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:48] or "shot"


def _describe(cell: Cell) -> str:
    varied = ", ".join(f"{path} = {schema.show(v)}" for path, v in sorted(cell.varied.items()))
    return f"strip {cell.shot.strip!r}" + (f" with {varied}" if varied else "")


def _absolute(path: str, value: Any, base: Path) -> Any:
    """``value`` of the setting ``path`` with its relative paths below ``base``."""
    if path.partition(".")[0] == SPAN:
        return value
    return schema.map_paths(Job, path, value, lambda text: _below(base, text))


def _below(base: Path, text: str) -> str:
    given = Path(text)
    kept = is_bundled(text) or text.startswith("~") or given.is_absolute()
    return text if kept else str(base / given)
