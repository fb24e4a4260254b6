# SPDX-License-Identifier: GPL-3.0-or-later
"""What an engine's environment is made of. stdlib only."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import BadRequest

_ENGINE = Path(__file__).parents[1] / "engine"
_TORCH = re.compile(r"^torch==\S+", re.M)
_HASH = re.compile(r"--hash=sha256:(\w{64})")
PYPI = "pypi"  # the build of torch that PyPI has for this system: CUDA 13 on Linux, Metal on macOS


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

    @property
    def hashes(self) -> frozenset[str]:
        """SHA-256 of every file that may be installed; empty where they are not known."""
        return frozenset(_HASH.findall(self.lines))

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
    torch_locks: Path = _ENGINE  # the folder of torch-<build>.lock
    torch: str = ""  # of a build without a lock; empty: the version in requirements.txt
    # PYPI, uv's name of a build (auto, cpu, cu128, rocm6.4, ...) or "index": the user's index's
    backend: str = PYPI
    unpinned: bool = False  # the user takes a build of torch whose hashes are not known
    python: str = "3.12"  # a version uv provides, or the path of an interpreter
    imports: tuple[str, ...] = ("torch", "diffusers", "transformers", "gguf", "cv2")
    offline: Path | None = None  # a folder made by offline.bundle, or one of wheels

    @property
    def packages(self) -> list[Packages]:
        """torch first: the others must not bring one of another build."""
        return [self._torch(), Packages.locked("packages", "the packages", self.lock)]

    @property
    def _named(self) -> str:
        named = _TORCH.search((_ENGINE / "requirements.txt").read_text(encoding="utf-8"))
        return self.torch or (named[0] if named else "torch")

    def require_pins(self) -> None:
        """Raises BadRequest for a build of torch without hashes that nobody has agreed to."""
        if not self.unpinned and not is_pinned(self.backend, self.torch_locks):
            raise BadRequest(
                f"The hashes of torch's build {self.backend} are not known: whoever serves it "
                "could change it.",
                f"Choose the build {PYPI}, or accept a build without known hashes.",
            )

    def _torch(self) -> Packages:
        if is_pinned(self.backend, self.torch_locks):
            lock = self.torch_locks / _lock_name(self.backend)
            return Packages.locked("torch", "torch; its GPU builds are several GB", lock)
        torch = self._named
        own = self.offline or self.backend == "index"
        index = () if own else ("--torch-backend", self.backend)
        says = f"{torch}; its GPU builds are several GB"
        return Packages("torch", says, torch, (torch,), index)

    @property
    def digest(self) -> str:
        """Changes when an installed environment is out of date, whatever its build of torch."""
        text = self.lock.read_bytes() + self._named.encode()
        return hashlib.sha256(text).hexdigest()[:16]


def is_pinned(backend: str, locks: Path = _ENGINE) -> bool:
    """Whether the hashes of torch's build and of all that it brings are known."""
    return (locks / _lock_name(backend)).is_file()


def _lock_name(backend: str) -> str:
    return f"torch-{backend}.lock"
