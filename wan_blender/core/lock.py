# SPDX-License-Identifier: GPL-3.0-or-later
"""One process at a time: works in a job folder, or fetches a file. stdlib only.

A claim is a lock of the operating system on a file: it ends with the process that holds it,
however that ends. The file ``lock`` of a job folder stays and means nothing by itself; but a file
server that heard nothing from a stopped machine gives its lock to another process, which then
writes other words into it.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
import uuid
from pathlib import Path
from typing import IO

from .errors import InvalidJob, JobBusy, from_os_error
from .files import find_link, open_file, read_bytes

LOCK = "lock"
OWNER_BYTES = 1000
FAR = 1 << 30  # Windows locks bytes, and a locked byte cannot be read: one far behind the words
LOOKS, LOOK_S = 3, 0.01
TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class Claim:
    """Holds ``folder`` until it is closed. Raises JobBusy that names who does, and DiskFull."""

    def __init__(self, folder: Path) -> None:
        try:
            self._file = hold(folder / LOCK)
        except BlockingIOError as error:
            raise JobBusy(
                f"{error.strerror} works on the job in {folder}.",
                "Wait for its end, or end it there.",
            ) from error
        except OSError as error:
            raise from_os_error(error, "claiming the job folder") from error
        try:
            refuse_links(folder)
        except BaseException:
            self.close()
            raise
        self._path, self._words = folder / LOCK, _read(self._file)

    def holds(self) -> bool:
        """Whether the claim is still this one's: a process that was stopped for long may wake to
        find that its job was given to another."""
        try:
            return read_bytes(self._path, OWNER_BYTES).decode() == self._words
        except (OSError, UnicodeDecodeError):
            return False

    def check(self) -> None:
        """Raise JobBusy where the claim was lost."""
        if not self.holds():
            raise JobBusy(
                f"The job in {self._path.parent} was given to another process while this one was "
                "stopped or cut off.",
                "Nothing is lost: leave it to the other one.",
            )

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def refuse_links(folder: Path) -> None:
    """Raises InvalidJob where ``folder`` holds a link, a pipe or a device: what is written to it or
    copied from it would lie elsewhere."""
    try:
        link = find_link(folder)
    except OSError as error:
        raise from_os_error(error, "looking through the job folder") from error
    if link:
        raise InvalidJob(
            f"{link} is neither a file nor a folder: job folders hold no links, pipes or devices.",
            "It may lead out of the folder. Remove it, or export the shot again.",
        )


def hold(path: Path) -> IO[str]:
    """Lock the file ``path``, which is made, until what this returns is closed. Raises
    BlockingIOError, whose ``strerror`` says who holds it, or another OSError."""
    file = os.fdopen(open_file(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+", encoding="utf-8")
    try:
        _lock_soon(file)
        file.truncate(0)
        file.write(f"Process {os.getpid()} on {socket.gethostname()}\n{uuid.uuid4().hex}\n")
        file.flush()
    except OSError as error:
        owner = _read_owner(file)
        file.close()
        if error.errno not in TAKEN:
            raise
        raise BlockingIOError(errno.EAGAIN, owner, str(path)) from error
    return file


def _lock_soon(file: IO[str]) -> None:
    """As ``_lock``; who only looks whether a folder is claimed holds its lock for a moment."""
    for _ in range(LOOKS):
        try:
            _lock(file)
            return
        except OSError as error:
            if error.errno not in TAKEN:
                raise
        time.sleep(LOOK_S)
    _lock(file)


def is_claimed(folder: Path) -> bool:
    """Whether a process works in ``folder`` just now."""
    try:
        file = os.fdopen(open_file(folder / LOCK, os.O_RDWR), "r+", encoding="utf-8")
    except OSError:
        return False
    with file:
        try:
            _lock(file)
        except OSError as error:
            return error.errno in TAKEN
    return False


def _lock(file: IO[str]) -> None:
    """Raises OSError with an errno of TAKEN where another holds it. A file system without locks
    does not stop the work."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read(OWNER_BYTES)


def _read_owner(file: IO[str]) -> str:
    return _read(file).partition("\n")[0].strip() or "Another process"
