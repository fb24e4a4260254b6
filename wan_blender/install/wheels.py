# SPDX-License-Identifier: GPL-3.0-or-later
"""The wheels of the engine's environment, fetched as models are: bytes and speed are told, and one
that was stopped goes on where it was, which uv cannot do. uv says which wheels it wants, and
installs them from their folder. stdlib only."""

from __future__ import annotations

import re
import threading
import time
import tomllib
import urllib.parse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core import transfer
from ..core.errors import Cancelled, DiskFull, UserError, WrongPackage
from ..core.transfer import ByteCounter, RemoteSource, Transfer
from .recipe import Packages
from .uv import Runner, Tell, proxy_is_pips_alone

_TELL_S = 0.5  # between two lines of progress


def gather(
    uv: str,
    python: str,
    packages: Packages,
    folder: Path,
    run: Runner,
    tell: Tell,
    cancelled: threading.Event,
) -> bool:
    """Fetch what uv would install of ``packages`` for ``python`` into ``folder``, and leave nothing
    else in it.

    False where that cannot be done here, for instance from an index with a password: then uv has
    to fetch them. Raises Cancelled or DiskFull; what has arrived is kept. Raises WrongPackage for
    one that is not among the hashes of ``packages``, before it is fetched.
    """
    if proxy_is_pips_alone():
        return False
    alone = [word for word in packages.wanted if word == "--no-deps"]
    find = [uv, "pip", "compile", "--quiet", "--python", python, *alone, *packages.index]
    folder.mkdir(parents=True, exist_ok=True)
    asked, lock = folder / "wanted.in", folder / "pylock.toml"
    asked.write_text(packages.lines, encoding="utf-8")
    lock.unlink(missing_ok=True)
    try:
        run([*find, "--format", "pylock.toml", "-o", str(lock), str(asked)])
        places = {folder / source.name: source for source in _sources(lock)}
        _require_known(places.values(), packages.hashes)
        _fetch(places, tell, cancelled)
    except (DiskFull, WrongPackage):
        raise
    except UserError as error:
        tell(f"{error.message} uv fetches the packages; one that is interrupted starts over.")
        return False
    for path in folder.glob("*.whl*"):
        if path not in places:
            path.unlink()
    return True


def _require_known(sources: Iterable[RemoteSource], known: frozenset[str]) -> None:
    for source in sources:
        if known and source.sha256 not in known:
            raise WrongPackage(
                f"{source.name} from {urllib.parse.urlsplit(source.url).hostname} is not the "
                f"package that this extension was made with: its SHA-256 is {source.sha256}.",
                "Nothing of it was installed. Ask whoever runs the package index, or use another.",
            )


def _fetch(places: dict[Path, RemoteSource], tell: Tell, cancelled: threading.Event) -> None:
    absent = {
        place: source if source.size else replace(source, size=transfer.measure(source))
        for place, source in places.items()
        if not place.exists()  # a file has its name when it was verified
    }
    told = 0.0

    def check() -> None:
        if cancelled.is_set():
            raise Cancelled

    def show(now: Transfer) -> None:
        nonlocal told
        check()
        if time.monotonic() - told > _TELL_S or now.done == now.total:
            told = time.monotonic()
            tell(_words(now))

    progress = ByteCounter(sum(source.size for source in absent.values()), show, check)
    for place, source in absent.items():
        transfer.fetch(source, place, progress)


def _words(now: Transfer) -> str:
    if now.wait_s:
        return f"Waiting: {now.file} is asked for again in {now.wait_s:.0f} s"
    left = f", about {now.eta_s / 60:.0f} min left" if now.eta_s >= 60 else ""
    return (
        f"Fetching {now.file.partition('-')[0]}: {now.done / 1e6:.0f} of {now.total / 1e6:.0f} MB, "
        f"{now.speed_mb_s:.1f} MB/s{left}"
    )


def _sources(lock: Path) -> list[RemoteSource]:
    """The wheels that a pylock.toml names, one for each package. Raises UserError for a package
    that is none, or that has no hash."""
    try:
        packages = tomllib.loads(lock.read_text(encoding="utf-8"))["packages"]
        best = [max(package["wheels"], key=_fitness) for package in packages]
        return [
            RemoteSource(
                _name(wheel), wheel["url"], wheel.get("size", 0), wheel["hashes"]["sha256"]
            )
            for wheel in best
        ]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"uv does not say where the packages are ({error!r}).") from error


def _name(wheel: dict[str, Any]) -> str:
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(wheel["url"]).path)).name


def _fitness(wheel: dict[str, Any]) -> tuple[bool, bool, list[int]]:
    """uv lists all that this machine can use: built for it before any, for the newest system."""
    _, abi, platform = _name(wheel).removesuffix(".whl").rsplit("-", 3)[1:]
    return platform != "any", abi not in ("none", "abi3"), [*map(int, re.findall(r"\d+", platform))]
