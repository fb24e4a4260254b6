# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in folders that somebody else may have filled: read within bounds, written whole, never
through a link. stdlib only.

A job folder, a model folder and a folder beside a .blend can come from anywhere. In them a name
that we know may be a link to ~/.bashrc, a pipe that never ends, or three gigabytes of brackets.
What is opened here is a regular file with one name, read to a limit and no deeper than Python's
JSON reader goes; everything else is an OSError or a ValueError that says so.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

JSON_BYTES = 4 << 20  # a job.json with a prompt for each of a thousand windows is a tenth of that
JOURNAL_BYTES = 16 << 20
PROBE_BYTES = 8 << 20
FOLDER_ENTRIES = 4_000_000  # plate, mask and result of the longest timeline
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # opening a pipe without a writer would block forever
_BINARY = getattr(os, "O_BINARY", 0)


def open_file(path: Path, flags: int, links: bool = False) -> int:
    """A descriptor of the regular file ``path``, opened with ``flags``. Raises OSError for a link,
    a device, a pipe, and for a file that has other names, unless ``links`` are welcome."""
    follow = 0 if links else _NOFOLLOW
    if not links and _is_link(path):
        raise _refused(path, "is a link")
    try:
        descriptor = os.open(path, flags | follow | _NONBLOCK | _BINARY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a pipe without a reader
            raise _refused(path, "is not a regular file") from error
        raise
    found = os.fstat(descriptor)
    fault = ""
    if stat.S_ISDIR(found.st_mode):
        os.close(descriptor)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        fault = "is not a regular file"
    elif not links and found.st_nlink > 1 and flags & (os.O_WRONLY | os.O_RDWR):
        fault = "is a second name of another file"
    if fault:
        os.close(descriptor)
        raise _refused(path, fault)
    return descriptor


def read_bytes(path: Path, limit: int, links: bool = False) -> bytes:
    """All of ``path``. Raises OSError, also where it is larger than ``limit`` bytes."""
    with os.fdopen(open_file(path, os.O_RDONLY, links), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"is larger than {limit:,} bytes", str(path))
    return data


def read_json(path: Path, limit: int = JSON_BYTES, links: bool = False) -> Any:
    """What ``path`` holds, in UTF-8 or, as PowerShell writes, UTF-16; a byte order mark in front is
    passed over. Raises OSError, or ValueError for what is not JSON or too deep."""
    data = read_bytes(path, limit, links)
    try:
        return json.loads(data.decode(json.detect_encoding(data)))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write beside under a name nobody can foresee, then rename: a reader never sees half a file,
    and a link in its place is replaced, not followed. Raises OSError, ValueError for numbers that
    are no numbers."""
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of ``path``, synced to the disk, when the block ends well."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with os.fdopen(open_file(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power cut can leave the new name with no contents
        os.replace(part, path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def sync_file(path: Path) -> None:
    """Write what is in ``path`` to the disk."""
    descriptor = open_file(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Write the names in ``folder`` to the disk, where the system has a way to."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS, errno.ENOTSUP):  # some network disks
            raise
    finally:
        os.close(descriptor)


def append(path: Path) -> IO[bytes]:
    """``path`` opened for reading and appending, made where it is not there."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    return os.fdopen(open_file(path, flags), "ab+")


def find_link(folder: Path) -> Path | None:
    """The first thing below ``folder`` that is neither folder nor regular file: a link, a pipe, a
    device. Raises OSError for a folder of more than FOLDER_ENTRIES entries."""
    left, count = [folder], 0
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                count += 1
                if count > FOLDER_ENTRIES:
                    raise OSError(errno.EFBIG, f"holds over {FOLDER_ENTRIES:,} files", str(folder))
                if entry.is_dir(follow_symlinks=False) and not _is_junction(entry):
                    left.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    return Path(entry.path)
    return None


def data_folder() -> Path:
    """The user's folder for what outlasts the extension, for all versions of Blender: models, and
    the jobs of unsaved files. By hand, for Blender's Python has no platformdirs."""
    if sys.platform == "win32":
        among = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        among = Path.home() / "Library" / "Application Support"
    else:
        among = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(among) / "wan_blender"


def has_room(folder: Path) -> bool:
    """Whether 8 MB can still be written beside ``folder``. DiskFull is also raised for one folder
    that is read-only; only a disk that is full is a reason to take no more jobs."""
    try:
        with tempfile.TemporaryFile(dir=folder.parent) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return False
    return True


def _is_link(path: Path) -> bool:
    """Where the system cannot refuse a link while opening, Windows, it is looked for before."""
    return not _NOFOLLOW and (path.is_symlink() or getattr(os.path, "isjunction", bool)(path))


def _is_junction(entry: os.DirEntry[str]) -> bool:
    asked = getattr(entry, "is_junction", None)  # Python 3.12
    return bool(asked and asked())


def _refused(path: Path, fault: str) -> OSError:
    return OSError(errno.ELOOP, fault, str(path))
