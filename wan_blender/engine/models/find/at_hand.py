# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that would be downloaded but lie on this machine already, as those of ComfyUI and of the
Hugging Face cache do: known by name and size, verified by SHA-256 before use, used where they lie.
stdlib only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ....core.transfer import ByteCounter, Tell
from .catalogue import RemoteFile
from .walk import Walk

_CHUNK = 1 << 22  # bytes; cancel is seen after each


def find_files(
    wanted: Iterable[RemoteFile], folders: Iterable[Path]
) -> dict[RemoteFile, list[Path]]:
    """Where in ``folders`` files of the wanted names and sizes are, each once."""
    names: dict[str, list[RemoteFile]] = {}
    for file in wanted:
        if file.size:
            names.setdefault(Path(file.path).name, []).append(file)
    found: dict[RemoteFile, dict[Path, Path]] = {}
    for path in _walk(folders, names) if names else ():
        try:
            size, real = path.stat().st_size, path.resolve()
        except OSError:  # a dangling link
            continue
        for file in names[path.name]:
            if file.size == size:
                found.setdefault(file, {}).setdefault(real, path)
    return {file: list(places.values()) for file, places in found.items()}


def verify(
    found: dict[RemoteFile, list[Path]], tell: Tell = lambda _transfer: None
) -> dict[RemoteFile, Path]:
    """Of each file the first that has the right SHA-256, where that is known. Reads every byte;
    ``tell`` may raise Cancelled."""
    progress = ByteCounter(sum(file.size * len(paths) for file, paths in found.items()), tell)
    right = {}
    for file, paths in found.items():
        for path in paths:
            if not file.sha256 or _sha256(path, progress) == file.sha256:
                right[file] = path
                break
    return right


def _sha256(path: Path, progress: ByteCounter) -> str:
    """ "" for a file that cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                progress.add(len(chunk), path.name)
    except OSError:
        return ""
    return digest.hexdigest()


def _walk(folders: Iterable[Path], names: Iterable[str]) -> Iterator[Path]:
    """Files of these names."""
    walk = Walk({})
    for root in folders:
        for _folder, inside in walk.folders(Path(os.path.abspath(os.path.expanduser(root)))):
            yield from (path for path in inside if path.name in names)
