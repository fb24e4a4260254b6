# SPDX-License-Identifier: GPL-3.0-or-later
"""Go through folders of models, whatever links lead where. stdlib only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ....model_info.names import MODEL_FILES

DEPTH = 8  # folders down from those that are named


class Walk:
    """Goes through folders and gives each once; ``unusable`` takes what is closed, with the reason.
    A folder whose content ``ends`` is true of is given, and not gone into."""

    def __init__(
        self,
        unusable: dict[Path, str],
        ends: Callable[[list[Path]], bool] = lambda _inside: False,
    ) -> None:
        self._unusable, self._ends = unusable, ends
        self._seen: dict[str, int] = {}  # how many folders deep the walk went on from there

    def is_new(self, path: Path) -> bool:
        """Whether nothing led here before, under this name or another."""
        real = os.path.realpath(path)
        new = real not in self._seen
        self._seen.setdefault(real, 0)
        return new

    def folders(self, folder: Path, depth: int = DEPTH) -> Iterator[tuple[Path, list[Path]]]:
        """Each folder with what is in it, from the top down; names that begin with a dot are passed
        over, as settings and what macOS leaves on other disks."""
        real = os.path.realpath(folder)
        known = self._seen.get(real, -1)
        if not self._is_spelled(folder) or depth <= known:
            return
        self._seen[real] = depth
        try:
            inside = sorted(folder.iterdir())
        except OSError as error:
            self._unusable[folder] = f"{folder} cannot be read: {error.strerror}."
            return
        inside = [p for p in inside if not p.name.startswith(".") and self._is_spelled(p)]
        if known < 0:
            yield folder, inside
        if not depth or self._ends(inside):
            return
        for path in inside:
            if path.name != "blobs" and self._is_folder(path):
                yield from self.folders(path, depth - 1)

    def _is_folder(self, path: Path) -> bool:
        try:
            return path.is_dir()
        except OSError as error:  # a link into a closed one
            self._unusable[path] = f"{path} cannot be read: {error.strerror}."
            return False

    def _is_spelled(self, path: Path) -> bool:
        """Whether its name is text: no JSON file and no menu could hold another."""
        try:
            str(path).encode()
        except UnicodeEncodeError:
            if path.suffix.lower() in MODEL_FILES or os.path.isdir(path):
                shown = ascii(str(path))[1:-1]
                self._unusable[Path(shown)] = f"The name of {shown} is not UTF-8; rename it."
            return False
        return True
