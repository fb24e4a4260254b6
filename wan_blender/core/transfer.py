# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch a file: resumed where it stopped, verified, cancellable.

A file grows as ``<name>.part`` and gets its name when its size and SHA-256 are right. The hash
is computed while it arrives; what a killed download left is hashed first and then continued.
An answer is checked before its first byte is kept: a login page or another range than was asked
for is not part of the file. One process at a time fetches to a place (lock.py). stdlib only: the
engine fetches models with it, Blender the engine's packages.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .errors import UserError, from_os_error
from .files import append, open_file, sync_file, sync_folder
from .http import (
    LONGEST_WAIT_S,
    OddAnswer,
    ask,
    is_final,
    is_network,
    network_error,
    pause_s,
    server_of,
)
from .lock import hold

_CHUNK = 1 << 20  # bytes; cancel is seen after each
_PAGE = 1 << 18  # bytes; a larger login page says that it is HTML
_TRIES = 8  # in a row without a byte more than ever before
UNKNOWN_BYTES = 64 << 20  # of a file whose size nobody says
_LOCKS = 5  # of a file whose name was gone


@dataclass(frozen=True)
class RemoteSource:
    """Size 0 and an empty hash are not known beforehand; then no more than UNKNOWN_BYTES are taken.
    ``git_oid`` is git's name of a file that has no SHA-256. ``name`` is for messages, ``token`` for
    the server that is asked, not for one it points to."""

    name: str
    url: str
    size: int = 0
    sha256: str = ""
    token: str = ""
    git_oid: str = ""

    @property
    def limit(self) -> int:
        return self.size or UNKNOWN_BYTES


@dataclass(frozen=True)
class Transfer:
    """How far a download is. ``eta_s`` is -1 while it is not known. ``wait_s`` is how long it is
    still until the server is asked again, 0 while it sends."""

    file: str
    done: int  # bytes of the whole download
    total: int
    speed_mb_s: float
    eta_s: float
    wait_s: float = 0.0


Tell = Callable[[Transfer], None]


class ByteCounter:
    """Counts bytes and tells speed over the last seconds and the time left. ``check`` is called
    before every try and may raise to stop, as ``tell`` may."""

    def __init__(self, total: int, tell: Tell, check: Callable[[], None] = lambda: None) -> None:
        self.total, self._tell, self.check = total, tell, check
        self.done = 0
        self._marks = [(time.monotonic(), 0)]

    def start(self, already: int) -> None:
        """Bytes that were there before do not count as speed."""
        self.done += already
        self._marks = [(time.monotonic(), self.done)]

    def add(self, count: int, file: str) -> None:
        self.done += count
        now = time.monotonic()
        self._marks.append((now, self.done))
        while now - self._marks[0][0] > 5 and len(self._marks) > 2:
            self._marks.pop(0)
        began, before = self._marks[0]
        speed = (self.done - before) / max(now - began, 1e-3)
        eta = (self.total - self.done) / speed if speed > 0 and self.total else -1.0
        self._tell(Transfer(file, self.done, self.total, speed / 1e6, max(eta, -1.0)))

    def wait(self, seconds: float, file: str) -> None:
        """Sleep until the next try, and tell how long it is still."""
        while seconds > 0:
            self.check()
            self._tell(Transfer(file, self.done, self.total, 0.0, -1.0, seconds))
            time.sleep(min(seconds, 0.5))
            seconds -= 0.5


def measure(source: RemoteSource) -> int:
    """Bytes of a file as its server says. Raises UserError."""
    try:
        with ask(source.url, source.token, method="HEAD") as answer:
            told = answer.headers.get("Content-Length", "")
            if not told.isdecimal():
                raise OddAnswer("an answer without its size")
            return int(told)
    except (OSError, http.client.HTTPException) as error:
        raise network_error(source.url, source.name, error) from error


def fetch(source: RemoteSource, place: Path, progress: ByteCounter) -> None:
    """Download ``source`` to ``place``. Raises UserError when the network fails, what arrived is
    damaged or another process fetches it, DiskFull, and what ``progress`` raises to stop."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(source, place):
            if source.size and place.is_file() and place.stat().st_size == source.size:
                progress.start(source.size)  # another process was faster
                return
            part = _Part(part_of(place), source.size)
            progress.start(part.size)
            _fetch(source, part, progress)
            part.finish(source, place)
    except OSError as error:
        raise from_os_error(error, f"downloading {source.name}") from error


def _fetch(source: RemoteSource, part: _Part, progress: ByteCounter) -> None:
    """Ask until all is there, or nothing more comes. Raises as fetch does."""
    best, tries, waited_s = part.size, 0, 0.0
    while not source.size or part.size < source.size:
        progress.check()
        try:
            _stream(source, part, progress)
            if not source.size:
                return
            error = None
        except (OSError, http.client.HTTPException) as failure:
            if not is_network(failure):
                raise
            error = failure
        tries, waited_s = (0, 0.0) if part.size > best else (tries + 1, waited_s)
        best = max(best, part.size)
        wait_s = pause_s(error, tries)
        waited_s += wait_s
        if error and (tries >= _TRIES or is_final(error) or waited_s > LONGEST_WAIT_S):
            raise network_error(source.url, source.name, error) from error
        if tries >= _TRIES:
            raise UserError(f"{server_of(source.url)} sends nothing more of {source.name}.")
        progress.wait(wait_s, source.name)


@contextlib.contextmanager
def _alone(source: RemoteSource, place: Path) -> Iterator[None]:
    """Raises UserError while another process fetches to ``place``. The lock's file goes with the
    lock: one that was locked when its name was gone already is made again, a few times only, for a
    file system may tell the numbers of a file otherwise by its name."""
    path = _lock_of(place)
    try:
        for tries_left in reversed(range(_LOCKS)):
            file = hold(path)
            if not tries_left or _has_name(file, path):
                break
            file.close()
    except BlockingIOError as error:
        raise UserError(
            f"{source.name} is being downloaded to {place.parent} already: {error.strerror}.",
            "Wait for its end, or end it there, then try again.",
        ) from error
    try:
        yield
    finally:
        if os.name == "nt":  # which removes no open file, nor one that another has opened
            file.close()
        with contextlib.suppress(OSError):
            path.unlink()
        file.close()


def sweep(place: Path) -> None:
    """Remove the lock of a process that was killed as it finished ``place``."""
    path = _lock_of(place)
    with contextlib.suppress(OSError):
        if path.exists():
            with hold(path):
                path.unlink()


def _lock_of(place: Path) -> Path:
    return place.with_name(place.name + ".part.lock")


def _has_name(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
    except OSError:
        file.close()  # and with it the lock
        raise


def part_of(place: Path) -> Path:
    """Where what has arrived of a file is kept."""
    return place.with_name(place.name + ".part")


def _stream(source: RemoteSource, part: _Part, progress: ByteCounter) -> None:
    """Append what the server sends of the rest. Raises OddAnswer for what cannot be of this file,
    or UserError once as much as the file was sent; nothing of it is kept then."""
    start, mark = part.size, part.mark()
    with ask(source.url, source.token, start) as answer:
        begins, total = _told(answer, start)
        if begins > start:
            raise OddAnswer(f"bytes from {begins} on instead of from {start} on")
        if source.size and total is not None and total != source.size:
            raise OddAnswer(f"{total} bytes instead of {source.size}")
        whole = _append(source, part, start - begins, answer, progress)
    short = source.size and total is None and part.size < source.size
    if not whole or (short and _is_page(answer, part.size - start)):
        progress.start(start - part.size)
        part.back_to(mark)
        odd = OddAnswer(f"{'fewer' if whole else 'more'} than its {source.limit} bytes")
        raise odd if whole else network_error(source.url, source.name, odd)


def _is_page(answer: http.client.HTTPResponse, count: int) -> bool:
    """Whether ``count`` bytes of an answer that does not tell its length may be a login page, and
    not the beginning of the file."""
    return count <= _PAGE or answer.headers.get("Content-Type", "").startswith("text/html")


def _told(answer: http.client.HTTPResponse, start: int) -> tuple[int, int | None]:
    """Where in the file the answer begins, and how long the file is; None if it does not say."""
    if answer.status != 206:
        return 0, answer.length
    said = re.match(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    begins = int(said[1]) if said else start
    if said and said[2] != "*":
        return begins, int(said[2])
    return begins, None if answer.length is None else begins + answer.length


def _append(
    source: RemoteSource,
    part: _Part,
    skip: int,
    answer: http.client.HTTPResponse,
    progress: ByteCounter,
) -> bool:
    """Append all but the first ``skip`` bytes, which are there already. False if there is more of
    it than of the file."""
    with part.open() as target:
        while chunk := answer.read1(_CHUNK):
            new, skip = chunk[skip:], max(0, skip - len(chunk))
            if part.size + len(new) > source.limit:
                return False
            part.append(new, target)
            progress.add(len(new), source.name)
    return True


def _git_oid(path: Path) -> str:
    """git's name of a file's contents: SHA-1 over "blob", its size, a zero byte and all of it."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class _Part:
    """What has arrived of a file, with its size and hash. What is larger than the file can be is
    of another one, and forgotten."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path, self.size, self._digest = path, 0, hashlib.sha256()
        if path.exists():
            if limit and path.stat().st_size > limit:
                os.truncate(path, 0)
            with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
                while chunk := file.read(_CHUNK):
                    self._count(chunk)

    def _count(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self.size += len(chunk)

    def open(self) -> IO[bytes]:
        """To append to. Raises UserError where another process writes too, as it can where the
        file system has no locks."""
        file = append(self.path)
        if file.seek(0, os.SEEK_END) != self.size:
            file.close()
            raise UserError(
                f"{self.path} changes while it is downloaded: another process writes to it.",
                "End the other download, then try again.",
            )
        return file

    def append(self, chunk: bytes, file: IO[bytes]) -> None:
        file.write(chunk)
        file.flush()
        self._count(chunk)

    def mark(self) -> tuple[int, Any]:
        return self.size, self._digest.copy()

    def back_to(self, mark: tuple[int, Any]) -> None:
        """Forget what came after ``mark``."""
        self.size, self._digest = mark
        os.truncate(self.path, self.size)

    def finish(self, source: RemoteSource, place: Path) -> None:
        """Give it its name if it is the file; else remove it. Raises UserError."""
        on_disk, sha256, wrong = self.path.stat().st_size, self._digest.hexdigest(), ""
        if on_disk != (source.size or self.size):
            wrong = f"{on_disk} bytes instead of {source.size or self.size}"
        elif source.sha256 and sha256 != source.sha256:
            wrong = f"SHA-256 {sha256} instead of {source.sha256}"
        elif source.git_oid and not source.sha256 and _git_oid(self.path) != source.git_oid:
            wrong = f"it is not the file that its repository names {source.git_oid}"
        if wrong:
            self.path.unlink()
            raise UserError(
                f"{source.name} arrived damaged: {wrong}. It was deleted.", "Download it again."
            )
        sync_file(self.path)  # else a power cut can leave the name of a model with nothing in it
        os.replace(self.path, place)
        sync_folder(place.parent)
