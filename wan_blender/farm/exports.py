# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in the folder of a batch: exported frames that jobs share, and what each job is.

    b1/.exports/KEY/    frames of one export, and frames.json, written last: shot, sizes, hashes
    b1/JOB/             a job folder; its frames are second names of those in .exports, or copies
    b1/JOB/cell.json    what the batch made it for: shot, what the matrix varied, priority

stdlib only.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core import schema
from ..core.errors import InvalidJob, from_os_error
from ..core.files import open_file, read_json, write_json
from ..core.result import list_files
from ..core.settings import Shot

EXPORTS = ".exports"
FRAMES_FILE, CELL_FILE = "frames.json", "cell.json"
FRAMES_BYTES = 64 << 20
BLOCK = 1 << 20


@dataclass(frozen=True)
class CellNote:
    """Why a job is in its batch; the engine does not read it."""

    shot: str
    export: str  # its key in .exports
    priority: int = 0
    varied: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Raises OSError."""
        write_json(folder / CELL_FILE, asdict(self))


def read_note(folder: Path) -> CellNote | None:
    """None for a job that no batch made."""
    try:
        data = read_json(folder / CELL_FILE)
        note = CellNote(**data)
        return note if isinstance(note.priority, int) and isinstance(note.varied, dict) else None
    except (OSError, ValueError, TypeError):
        return None


def key_of(asked: dict[str, Any], blend: Path | None) -> str:
    """The name of an export: of what was ``asked`` for, and of the file on disk as it is now. A
    movie that is changed while its .blend is not, and what a script changes without saving, are not
    seen: remove .exports then."""
    stamp: list[Any] = []
    if blend:
        stat = blend.stat()
        stamp = [str(blend), stat.st_size, stat.st_mtime_ns]
    said = json.dumps([asked, stamp], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def find_shot(export: Path) -> Shot | None:
    """What was exported into the folder ``export``; None where that did not end."""
    try:
        return schema.from_dict(Shot, read_json(export / FRAMES_FILE, FRAMES_BYTES)["shot"], "shot")
    except (OSError, ValueError, KeyError, TypeError, InvalidJob):
        return None


def seal(export: Path, shot: Shot) -> None:
    """Say that ``export`` is whole. Raises DiskFull."""
    try:
        write_json(
            export / FRAMES_FILE, {"shot": schema.to_dict(shot), "files": list_files(export)}
        )
    except OSError as error:
        raise from_os_error(error, "exporting the shot") from error


def share(export: Path, folder: Path) -> None:
    """Give the job ``folder`` the frames of ``export``: by hard links, which take no room, or by
    copies where the disk has none. What a job writes it writes elsewhere. Raises DiskFull."""
    try:
        for path in sorted(export.rglob("*")):
            target = folder / path.relative_to(export)
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                _link(path, target)
    except OSError as error:
        raise from_os_error(error, "sharing the frames of an export") from error


def _link(path: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:  # no hard links there, another disk, or too many names of one file
        shutil.copyfile(path, target)


def check_frames(folder: Path, hashes: bool = False) -> None:
    """Raise InvalidJob where a frame of a batch's job is missing, or not as long as it was
    exported; with ``hashes`` where it holds anything else. A copy that was cut off is seen so."""
    try:
        files = read_json(folder / FRAMES_FILE, FRAMES_BYTES)["files"].items()
    except FileNotFoundError:
        return  # exported alone
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidJob(f"{folder / FRAMES_FILE} cannot be read: {error}.", _AGAIN) from error
    for name, (size, digest) in files:
        path = folder / name
        try:
            there = path.stat().st_size
            same = there == size and (not hashes or _digest(path) == digest)
        except OSError as error:
            raise InvalidJob(f"{path} cannot be read: {error.strerror}.", _AGAIN) from error
        if not same:
            told = f"has {there} bytes instead of {size}" if there != size else "was changed"
            raise InvalidJob(f"{path} {told} since it was exported.", _AGAIN)


_AGAIN = "Copy the job again, or export it again."


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
