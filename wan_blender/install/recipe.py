# SPDX-License-Identifier: GPL-3.0-or-later
"""What an engine's environment is made of. stdlib only."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

_ENGINE = Path(__file__).parents[1] / "engine"
_TORCH = re.compile(r"^torch==\S+", re.M)


@dataclass(frozen=True)
class Packages:
    """What is installed in one go. ``index`` is uv's words for where it finds them, ``wanted`` uv's
    and pip's for what they are, ``lines`` the same as a file of requirements, ``says`` a person's.
    """

    name: str
    says: str
    lines: str
    wanted: tuple[str, ...]
    index: tuple[str, ...] = ()

    @classmethod
    def locked(cls, name: str, says: str, lock: Path) -> Packages:
        # Every hash is known, so it does not matter which of the user's indexes answers.
        return cls(
            name,
            says,
            lock.read_text(encoding="utf-8"),
            ("--no-deps", "--require-hashes", "-r", str(lock)),
            ("--index-strategy", "unsafe-best-match"),
        )


@dataclass(frozen=True)
class Recipe:
    """What to install. The defaults are the engine's; tests use smaller ones."""

    lock: Path = _ENGINE / "requirements.lock"
    torch: str = ""  # empty: the version in requirements.txt; "none": no torch
    # uv's name of torch's build: auto, cpu, cu128, rocm6.4, ...; "index": the user's index's
    backend: str = "auto"
    python: str = "3.12"  # a version uv provides, or the path of an interpreter
    imports: tuple[str, ...] = ("torch", "diffusers", "transformers", "gguf", "cv2")
    offline: Path | None = None  # a folder made by offline.bundle, or one of wheels

    @property
    def packages(self) -> list[Packages]:
        """torch first: the others must not bring one of another build."""
        locked = Packages.locked("packages", "the packages", self.lock)
        if self.torch == "none":
            return [locked]
        named = _TORCH.search((_ENGINE / "requirements.txt").read_text(encoding="utf-8"))
        torch = self.torch or (named[0] if named else "torch")
        own = self.offline or self.backend == "index"
        index = () if own else ("--torch-backend", self.backend)
        says = f"{torch}; its GPU builds are several GB"
        return [Packages("torch", says, torch, (torch,), index), locked]

    @property
    def digest(self) -> str:
        """Changes when an installed environment is out of date."""
        text = self.lock.read_bytes() + self.packages[0].lines.encode()
        return hashlib.sha256(text).hexdigest()[:16]
