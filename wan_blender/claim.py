# SPDX-License-Identifier: GPL-3.0-or-later
"""One process at a time works in a job folder. stdlib only.

The claim is a lock of the operating system on the folder's file ``lock``: it ends with the process
that holds it, however that ends. The file itself stays and means nothing.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import IO

from .errors import JobBusy, from_os_error

LOCK = "lock"
FAR = 1 << 30  # Windows locks bytes, and a locked byte cannot be read: one far behind the words
TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class Claim:
    """Holds ``folder`` until it is closed. Raises JobBusy that names who does, and DiskFull."""

    def __init__(self, folder: Path) -> None:
        try:
            self._file = open(folder / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 - held
        except OSError as error:
            raise from_os_error(error, "claiming the job folder") from error
        try:
            _lock(self._file)
            self._file.truncate(0)
            self._file.write(f"Process {os.getpid()} on {socket.gethostname()}")
            self._file.flush()
        except OSError as error:
            owner = _read_owner(self._file)
            self.close()
            if error.errno not in TAKEN:
                raise from_os_error(error, "claiming the job folder") from error
            raise JobBusy(
                f"{owner} works on the job in {folder}.", "Wait for its end, or end it there."
            ) from error

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_claimed(folder: Path) -> bool:
    """Whether a process works in ``folder`` just now."""
    try:
        file = open(folder / LOCK, "r+", encoding="utf-8")  # noqa: SIM115 - closed below
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
    is no reason not to work."""
    if os.name == "nt":
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


def _read_owner(file: IO[str]) -> str:
    file.seek(0)
    return file.read(200).strip() or "Another process"
