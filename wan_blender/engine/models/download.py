# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch models: resumed where they stopped, verified, cancellable, never without being asked.

A file grows as ``<name>.part`` and gets its name when its size and SHA-256 are right. The hash
is computed while it arrives; what a killed download left is hashed first and then continued.
HF_ENDPOINT and HF_TOKEN are honoured, proxies too. stdlib only.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import DiskFull, UserError, from_os_error
from .catalogue import Entry, LoraEntry, PartEntry, RemoteFile
from .finding import Candidate, write_candidate
from .tensor_files import PICKLES

_CHUNK = 1 << 20  # bytes; cancel is seen after each
_TIMEOUT_S = 30
_TRIES = 8  # in a row without a byte
_SPARE = 1 << 30  # bytes left free on the disk
_NETWORK = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENETRESET}
_WANTED = (".json", ".safetensors", ".model", ".txt", ".md")


@dataclass(frozen=True)
class Transfer:
    """How far a download is. ``eta_s`` is -1 while it is not known."""

    file: str
    done: int  # bytes of the whole download
    total: int
    speed_mb_s: float
    eta_s: float


Tell = Callable[[Transfer], None]


def fetch(entry: Entry, root: Path, tell: Tell = lambda _transfer: None) -> Path:
    """Download ``entry`` under ``root`` and return its model folder.

    Finished files are kept; a second call goes on where the first stopped. ``tell`` may raise
    Cancelled. Raises UserError when the network fails, DiskFull before anything is fetched.
    """
    places = model_places(entry, root)
    fetch_files(places, tell)
    if entry.repository:
        return root / entry.key
    parts = {file.part: str(place) for file, place in places.items()}
    return write_candidate(Candidate(entry.key, entry.kind, parts, entry.boundary, ()), root)


def model_places(entry: Entry, root: Path) -> dict[RemoteFile, Path]:
    """Every file of ``entry``, as its repository lists it, and where it goes under ``root``."""
    if entry.repository:
        files = list_repository(entry.repository, entry.revision)
        return {file: root / entry.key / file.path for file in files}
    return {file: _place(file, root) for file in map(complete, entry.files)}


def part_places(entry: PartEntry, root: Path) -> dict[RemoteFile, Path]:
    file = complete(entry.file)
    return {file: _place(file, root)}


def _place(file: RemoteFile, root: Path) -> Path:
    """Single files lie apart from the models that are made of them: several may use one."""
    return root / "files" / file.repository.replace("/", "--") / file.path


def lora_places(entry: LoraEntry, root: Path) -> dict[RemoteFile, Path]:
    file = complete(entry.file)
    return {file: root / "loras" / Path(file.path).name}


def measure(places: dict[RemoteFile, Path]) -> tuple[int, int]:
    """Bytes that are still to be fetched, and bytes that are free where they go."""
    needed = sum(
        max(0, file.size - (part.stat().st_size if (part := _part(place)).exists() else 0))
        for file, place in places.items()
        if not _complete(file, place)
    )
    folder = next(iter(places.values())).parent
    while not folder.exists():
        folder = folder.parent
    return needed, shutil.disk_usage(folder).free


def fetch_files(places: dict[RemoteFile, Path], tell: Tell = lambda _transfer: None) -> None:
    """Download each file to its place; those already there with the right size are kept."""
    wanted = {f: p for f, p in places.items() if not _complete(f, p)}
    _check_space(wanted)
    total = sum(file.size for file in wanted)
    progress = _Progress(total, tell)
    for file, place in wanted.items():
        _fetch_one(file, place, progress)


def list_repository(repository: str, revision: str = "main") -> list[RemoteFile]:
    """The files a diffusers model needs, with sizes and hashes, pinned to one commit. Pickles and
    code are left out."""
    commit = _ask(f"/api/models/{repository}/revision/{revision}")["sha"]
    files = []
    for item in _ask(f"/api/models/{repository}/tree/{commit}?recursive=1"):
        name = item["path"]
        if item.get("type") != "file" or not name.lower().endswith(_WANTED):
            continue
        if name.lower().endswith(PICKLES) or not _inside(name):
            continue
        lfs = item.get("lfs") or {}
        files.append(
            RemoteFile(
                repository, name, commit, int(lfs.get("size", item["size"])), lfs.get("oid", "")
            )
        )
    return files


def complete(file: RemoteFile) -> RemoteFile:
    """``file`` with size, hash and commit as its repository lists them; a hash in the catalogue
    must agree. Raises UserError when the file is not there."""
    for found in list_files(file.repository, file.revision):
        if found.path == file.path:
            for name in ("size", "sha256"):
                told = getattr(file, name)
                if told and told != getattr(found, name):
                    raise UserError(
                        f"{file.repository} has another {file.path} than the catalogue knows: "
                        f"{name} {getattr(found, name)}, expected {told}.",
                        "Update the extension, or fetch the file yourself and add its folder.",
                    )
            return replace(found, part=file.part)
    raise UserError(f"{file.repository} has no file {file.path} any more.")


def list_files(repository: str, revision: str = "main") -> list[RemoteFile]:
    """Every weight file of a repository."""
    commit = _ask(f"/api/models/{repository}/revision/{revision}")["sha"]
    return [
        RemoteFile(repository, item["path"], commit, int(lfs["size"]), lfs["oid"])
        for item in _ask(f"/api/models/{repository}/tree/{commit}?recursive=1")
        if (lfs := item.get("lfs")) and _inside(item["path"])
    ]


def _inside(name: str) -> bool:
    """Whether a repository's file name stays inside the folder it is put in."""
    parts = name.replace("\\", "/").split("/")
    return not (name.startswith("/") or ".." in parts or ":" in parts[0])


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _request(path: str, start: int = 0) -> urllib.request.Request:
    request = urllib.request.Request(endpoint() + path, headers={"User-Agent": "wan_blender"})
    if token := os.environ.get("HF_TOKEN"):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    if start:
        request.add_header("Range", f"bytes={start}-")
    return request


def _ask(path: str) -> Any:
    try:
        with urllib.request.urlopen(_request(path), timeout=_TIMEOUT_S) as answer:
            return json.load(answer)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _network(path, error) from error


def _network(what: str, error: Exception) -> UserError:
    if isinstance(error, urllib.error.HTTPError):
        if error.code in (401, 403):
            return UserError(
                f"{endpoint()} refuses {what} ({error.code}).",
                "Accept the model's licence on its page and set HF_TOKEN, then try again.",
            )
        return UserError(f"{endpoint()} answers {error.code} to {what}.", "Try again later.")
    reason = getattr(error, "reason", None) or error
    return UserError(
        f"{endpoint()} cannot be reached: {reason}.",
        "Check the connection and the proxy, then try again; what has arrived is kept.",
    )


def _complete(file: RemoteFile, place: Path) -> bool:
    return place.is_file() and file.size > 0 and place.stat().st_size == file.size


def _check_space(places: dict[RemoteFile, Path]) -> None:
    if not places:
        return
    needed, free = measure(places)
    if needed + _SPARE > free:
        raise DiskFull(
            f"The download needs {needed / 1e9:.1f} GB and 1 GB to spare; "
            f"{next(iter(places.values())).parent} has {free / 1e9:.1f} GB free.",
            "Free some space or choose another model folder.",
        )


def _part(place: Path) -> Path:
    return place.with_name(place.name + ".part")


class _Progress:
    """Counts bytes and tells speed over the last seconds and the time left."""

    def __init__(self, total: int, tell: Tell) -> None:
        self.total, self._tell = total, tell
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


def _fetch_one(file: RemoteFile, place: Path, progress: _Progress) -> None:
    part = _part(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        digest, size = _hash(part)
        progress.start(size)
        tries = 0
        while not file.size or size < file.size:
            try:
                got = _stream(file, part, size, digest, progress)
                size += got
                if not file.size:
                    break
                tries = 0 if got else tries + 1
            except (OSError, http.client.HTTPException) as error:
                if not _is_network(error):
                    raise
                moved = part.stat().st_size - size if part.exists() else 0
                size += moved
                tries = 0 if moved else tries + 1
                if tries >= _TRIES or _final(error):
                    raise _network(file.path, error) from error
            if tries >= _TRIES:
                raise UserError(f"{endpoint()} sends nothing more of {file.path}.")
            if tries:
                time.sleep(min(0.1 * 2**tries, 5))
    except OSError as error:
        raise from_os_error(error, f"downloading {file.path}") from error
    _finish(file, part, place, digest.hexdigest(), size)


def _is_network(error: Exception) -> bool:
    """Whether the connection failed, and not the disk."""
    known = (http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError,
             ssl.SSLError)  # fmt: skip
    return isinstance(error, known) or getattr(error, "errno", None) in _NETWORK


def _final(error: Exception) -> bool:
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


def _stream(file: RemoteFile, part: Path, start: int, digest: Any, progress: _Progress) -> int:
    """Append what the server sends from ``start`` on; returns the bytes received."""
    path = f"/{file.repository}/resolve/{file.revision}/{urllib.parse.quote(file.path)}"
    received = 0
    with urllib.request.urlopen(_request(path, start), timeout=_TIMEOUT_S) as answer:
        if start and answer.status != 206:
            raise UserError(
                f"{endpoint()} cannot continue {file.path}.", f"Delete {part} and try again."
            )
        with open(part, "ab") as target:
            while chunk := answer.read1(_CHUNK):
                target.write(chunk)
                target.flush()
                digest.update(chunk)
                received += len(chunk)
                progress.add(len(chunk), file.path)
    return received


def _finish(file: RemoteFile, part: Path, place: Path, sha256: str, size: int) -> None:
    wrong = ""
    if file.size and size != file.size:
        wrong = f"{size} bytes instead of {file.size}"
    elif file.sha256 and sha256 != file.sha256:
        wrong = f"SHA-256 {sha256} instead of {file.sha256}"
    if wrong:
        part.unlink(missing_ok=True)
        raise UserError(
            f"{file.path} arrived damaged: {wrong}. It was deleted.", "Download it again."
        )
    os.replace(part, place)
