# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch models of the catalogue from the Hugging Face hub, never without being asked, nor what is
on this machine already. HF_ENDPOINT and HF_TOKEN are honoured; transfer.py says how a file is
resumed and verified. No torch.

By hand and not by huggingface_hub, which sets no bounds to what a server sends, resumes a file
without checking what was there, and cannot be cancelled between two blocks."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import time
import urllib.parse
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ....core import transfer
from ....core.errors import DiskFull, UserError
from ....core.http import ask_json, network_error
from ....core.transfer import ByteCounter, RemoteSource, Tell, part_of
from ..files.tensor_files import PICKLES
from ..layout import note_of
from .at_hand import find_files, verify
from .catalogue import Entry, LoraEntry, PartEntry, RemoteFile
from .comfyui import comfyui_folders
from .compose import Candidate, write_candidate
from .scan import hugging_face_cache

_FILES_AT_MOST, _BYTES_AT_MOST = 20_000, 1 << 42  # of a repository, of a file
_SPARE = 1 << 30  # bytes left free on the disk
_WANTED = (".json", ".safetensors", ".model", ".txt", ".md")


def fetch(
    entry: Entry, root: Path, tell: Tell = lambda _transfer: None, folders: Iterable[Path] = ()
) -> Path:
    """Download ``entry`` under ``root`` and return its model folder.

    Finished files are kept; a second call goes on where the first stopped. Single files that are
    in ``folders`` are used where they lie. ``tell`` may raise Cancelled. Raises UserError when the
    network fails, DiskFull before anything is fetched.
    """
    places = model_places(entry, root)
    if entry.repository:
        fetch_files(places, tell)
        return root / entry.key
    places = fetch_absent(places, folders, tell)
    parts = {file.part: str(place) for file, place in places.items()}
    return write_candidate(Candidate(entry.key, entry.kind, parts, entry.boundary, ()), root)


def model_places(entry: Entry, root: Path) -> dict[RemoteFile, Path]:
    """Every file of ``entry``, as its repository lists it, and where it goes under ``root``."""
    if entry.repository:
        files = list_repository(entry.repository, entry.revision)
        return {file: root / entry.key / file.path for file in files}
    ask_once = cache(list_files)  # of several files of a repository
    files = [complete(file, ask_once) for file in entry.files]
    return {file: _place(file, root) for file in files}


def part_places(entry: PartEntry, root: Path) -> dict[RemoteFile, Path]:
    file = complete(entry.file)
    return {file: _place(file, root)}


def _place(file: RemoteFile, root: Path) -> Path:
    """Single files lie apart from the models that are made of them: several may use one."""
    return root / "files" / file.repository.replace("/", "--") / file.path


def lora_places(entry: LoraEntry, root: Path) -> dict[RemoteFile, Path]:
    file = complete(entry.file)
    return {file: root / "loras" / Path(file.path).name}


def find_at_hand(
    places: dict[RemoteFile, Path], folders: Iterable[Path]
) -> dict[RemoteFile, list[Path]]:
    """Where single files that are not in their places lie already, by name and size: in
    ``folders``, ComfyUI's usual ones and the Hugging Face cache."""
    absent = [file for file, place in places.items() if not _complete(file, place)]
    named = list(folders)
    return find_files(absent, [*named, *comfyui_folders(named), hugging_face_cache()])


def fetch_absent(
    places: dict[RemoteFile, Path],
    folders: Iterable[Path],
    tell: Tell = lambda _transfer: None,
) -> dict[RemoteFile, Path]:
    """Download what is not at hand; where each file is then, its own place or where it lay."""
    places = places | verify(find_at_hand(places, folders), tell)
    fetch_files(places, tell)
    return places


def needed_bytes(places: dict[RemoteFile, Path]) -> int:
    """Still to be fetched."""
    return sum(
        max(0, file.size - (part.stat().st_size if (part := part_of(place)).exists() else 0))
        for file, place in places.items()
        if not _complete(file, place)
    )


def free_bytes(places: dict[RemoteFile, Path]) -> int:
    """Free on the disk that they go to."""
    folder = next(iter(places.values())).parent
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def fetch_files(places: dict[RemoteFile, Path], tell: Tell = lambda _transfer: None) -> None:
    """Download each file to its place; those already there with the right size are kept."""
    wanted = {f: p for f, p in places.items() if not _complete(f, p)}
    for place in places.values():
        transfer.sweep(place)
    _check_space(wanted)
    total = sum(file.size for file in wanted)
    progress = ByteCounter(total, tell)
    for file, place in wanted.items():
        transfer.fetch(_source(file), place, progress)
        _note(file, place)


def _note(file: RemoteFile, place: Path) -> None:
    """Write down the commit, as huggingface_hub would have: its own function for it is private."""
    path = file.path if place.as_posix().endswith(f"/{file.path}") else place.name
    note = note_of(place.parents[path.count("/")], path)
    with contextlib.suppress(OSError):  # the file is there, which counts
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{file.revision}\n{file.sha256}\n{time.time()}\n", encoding="utf-8")


def list_repository(repository: str, revision: str = "main") -> list[RemoteFile]:
    """The files a diffusers model needs, with sizes and hashes, pinned to one commit. Pickles and
    code are left out."""
    return [
        file
        for file in _tree(repository, revision)
        if file.path.lower().endswith(_WANTED) and not file.path.lower().endswith(PICKLES)
    ]


def list_files(repository: str, revision: str = "main") -> list[RemoteFile]:
    """Every weight file of a repository."""
    return [file for file in _tree(repository, revision) if file.sha256]


def complete(
    file: RemoteFile, list_them: Callable[[str, str], list[RemoteFile]] = list_files
) -> RemoteFile:
    """``file`` with size, hash and commit as its repository lists them; a hash in the catalogue
    must agree. Raises UserError when the file is not there."""
    for found in list_them(file.repository, file.revision):
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


def _tree(repository: str, revision: str) -> list[RemoteFile]:
    """The files of a repository that stay inside it, of one commit."""
    try:
        commit = _ask(f"/api/models/{repository}/revision/{revision}")["sha"]
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise ValueError("a commit that is none")
        listed = _ask(f"/api/models/{repository}/tree/{commit}?recursive=1")
        if len(listed) > _FILES_AT_MOST:
            raise ValueError(f"{len(listed)} files")
        found = (_listed(repository, commit, item) for item in listed)
        return [file for file in found if file]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise network_error(endpoint(), f"the list of {repository}", error) from error


def _listed(repository: str, commit: str, item: dict[str, Any]) -> RemoteFile | None:
    """A file of the list; None for what is none, leaves the folder, or is empty."""
    if item.get("type") != "file" or not _inside(item["path"]):
        return None
    lfs = item.get("lfs") or {}
    size, sha256, oid = int(lfs.get("size", item["size"])), lfs.get("oid", ""), item.get("oid", "")
    if not 0 < size < _BYTES_AT_MOST:
        return None
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"a hash of {item['path']} that is none")
    known = re.fullmatch(r"[0-9a-f]{40}", oid)
    return RemoteFile(
        repository, item["path"], commit, size, sha256, git_oid=oid if known and not sha256 else ""
    )


def _inside(name: str) -> bool:
    """Whether a repository's file name stays inside the folder it is put in."""
    parts = name.replace("\\", "/").split("/")
    plain = name.isprintable() and len(name) < 1000
    return plain and not (name.startswith("/") or ".." in parts or ":" in name)


def endpoint() -> str:
    """As huggingface_hub takes it, but that a bare host is one too."""
    told = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or "https://huggingface.co"
    return told if "://" in told else f"https://{told}"


def _token() -> str:
    return os.environ.get("HF_TOKEN", "")


def _ask(path: str) -> Any:
    try:
        return ask_json(endpoint() + path, _token())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise network_error(endpoint(), path, error) from error


def _source(file: RemoteFile) -> RemoteSource:
    path = f"/{file.repository}/resolve/{file.revision}/{urllib.parse.quote(file.path)}"
    return RemoteSource(
        file.path, endpoint() + path, file.size, file.sha256, _token(), file.git_oid
    )


def _complete(file: RemoteFile, place: Path) -> bool:
    return place.is_file() and file.size > 0 and place.stat().st_size == file.size


def _check_space(places: dict[RemoteFile, Path]) -> None:
    if not places:
        return
    needed, free = needed_bytes(places), free_bytes(places)
    if needed + _SPARE > free:
        raise DiskFull(
            f"The download needs {needed / 1e9:.1f} GB and 1 GB to spare; "
            f"{next(iter(places.values())).parent} has {free / 1e9:.1f} GB free.",
            "Free some space or choose another model folder.",
        )
