# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch a file: resumed where it stopped, verified, cancellable.

A file grows as ``<name>.part`` and gets its name when its size and SHA-256 are right. The hash
is computed while it arrives; what a killed download left is hashed first and then continued.
Proxies of the environment are honoured. stdlib only: the engine fetches models with it, Blender
the engine's packages.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UserError, from_os_error

TIMEOUT_S = 30
_CHUNK = 1 << 20  # bytes; cancel is seen after each
_TRIES = 8  # in a row without a byte
_NETWORK = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENETRESET}


@dataclass(frozen=True)
class Source:
    """Size 0 and an empty hash are not known beforehand. ``name`` is for messages, ``token`` for
    the server that is asked, not for one it points to."""

    name: str
    url: str
    size: int = 0
    sha256: str = ""
    token: str = ""


@dataclass(frozen=True)
class Transfer:
    """How far a download is. ``eta_s`` is -1 while it is not known."""

    file: str
    done: int  # bytes of the whole download
    total: int
    speed_mb_s: float
    eta_s: float


Tell = Callable[[Transfer], None]


class Progress:
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


def request(
    url: str, token: str = "", start: int = 0, method: str = "GET"
) -> urllib.request.Request:
    made = urllib.request.Request(url, headers={"User-Agent": "wan_blender"}, method=method)
    if token:
        made.add_unredirected_header("Authorization", f"Bearer {token}")
    if start:
        made.add_header("Range", f"bytes={start}-")
    return made


def measure(source: Source) -> int:
    """Bytes of a file as its server says. Raises UserError."""
    asked = request(source.url, source.token, method="HEAD")
    try:
        with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, http.client.HTTPException, TypeError, ValueError) as error:
        raise network_error(source.url, source.name, error) from error


def fetch(source: Source, place: Path, progress: Progress) -> None:
    """Download ``source`` to ``place``. Raises UserError when the network fails or what arrived is
    damaged, DiskFull, and what ``progress`` raises to stop."""
    part = part_of(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        digest, size = _hash(part)
        progress.start(size)
        tries = 0
        while not source.size or size < source.size:
            progress.check()
            try:
                got = _stream(source, part, size, digest, progress)
                size += got
                if not source.size:
                    break
                tries = 0 if got else tries + 1
            except (OSError, http.client.HTTPException) as error:
                if not _is_network(error):
                    raise
                moved = part.stat().st_size - size if part.exists() else 0
                size += moved
                tries = 0 if moved else tries + 1
                if tries >= _TRIES or _is_final(error):
                    raise network_error(source.url, source.name, error) from error
            if tries >= _TRIES:
                raise UserError(f"{_server(source.url)} sends nothing more of {source.name}.")
            if tries:
                time.sleep(min(0.1 * 2**tries, 5))
    except OSError as error:
        raise from_os_error(error, f"downloading {source.name}") from error
    _finish(source, part, place, digest.hexdigest(), size)


def part_of(place: Path) -> Path:
    """Where what has arrived of a file is kept."""
    return place.with_name(place.name + ".part")


def network_error(url: str, what: str, error: Exception) -> UserError:
    if isinstance(error, urllib.error.HTTPError):
        if error.code in (401, 403):
            return UserError(
                f"{_server(url)} refuses {what} ({error.code}).",
                "Accept the model's licence on its page and set HF_TOKEN, then try again.",
            )
        return UserError(f"{_server(url)} answers {error.code} to {what}.", "Try again later.")
    reason = getattr(error, "reason", None) or error
    return UserError(
        f"{_server(url)} cannot be reached: {reason}.",
        "Check the connection and the proxy, then try again; what has arrived is kept.",
    )


def _server(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _is_network(error: Exception) -> bool:
    """Whether the connection failed, and not the disk."""
    known = (http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError,
             ssl.SSLError)  # fmt: skip
    return isinstance(error, known) or getattr(error, "errno", None) in _NETWORK


def _is_final(error: Exception) -> bool:
    return isinstance(error, urllib.error.HTTPError) and error.code < 500


def _hash(part: Path) -> tuple[Any, int]:
    """Digest and size of what is already there."""
    digest, size = hashlib.sha256(), 0
    if part.exists():
        with open(part, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    return digest, size


def _stream(source: Source, part: Path, start: int, digest: Any, progress: Progress) -> int:
    """Append what the server sends from ``start`` on; returns the bytes received."""
    received = 0
    asked = request(source.url, source.token, start)
    with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
        if start and answer.status != 206:
            raise UserError(
                f"{_server(source.url)} cannot continue {source.name}.",
                f"Delete {part} and try again.",
            )
        with open(part, "ab") as target:
            while chunk := answer.read1(_CHUNK):
                target.write(chunk)
                target.flush()
                digest.update(chunk)
                received += len(chunk)
                progress.add(len(chunk), source.name)
    return received


def _finish(source: Source, part: Path, place: Path, sha256: str, size: int) -> None:
    wrong = ""
    if source.size and size != source.size:
        wrong = f"{size} bytes instead of {source.size}"
    elif source.sha256 and sha256 != source.sha256:
        wrong = f"SHA-256 {sha256} instead of {source.sha256}"
    if wrong:
        part.unlink(missing_ok=True)
        raise UserError(
            f"{source.name} arrived damaged: {wrong}. It was deleted.", "Download it again."
        )
    os.replace(part, place)
