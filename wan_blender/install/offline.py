# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder that an engine is installed from where there is no network, and how it is made.

    folder/python/cpython-3.12.16-...tar.gz    Python, as uv fetches it
    folder/uv/  torch/  packages/              wheels, for this platform and that Python

A flat folder of wheels does as well. stdlib only; Blender calls it from a thread.
"""

from __future__ import annotations

import gzip
import re
import shutil
import tarfile
import tempfile
import threading
import zlib
from pathlib import Path

from ..core.errors import BadRequest, EngineMissing, UserError, from_os_error
from .recipe import Packages, Recipe
from .trash import discard, long_path
from .uv import LOCK, ROOM, Runner, Tell, find_uv, python_in
from .wheels import gather

NAME = "wan_engine_"  # how the folders that are made begin
_VERSION = re.compile(r"\d+(\.\d+)*")
_ARCHIVES = "*cpython-*.tar.gz"  # uv writes a hash before the name
_SHORT = re.compile(r"cpython-[\d.]+\d")
_PYTHONS = ("python/python.exe", "python/bin/python3")  # in the archives that uv fetches


def bundle(
    folder: Path,
    recipe: Recipe | None = None,
    tell: Tell = lambda _line: None,
    cancelled: threading.Event | None = None,
) -> str:
    """Gather in ``folder`` what an installation of ``recipe`` needs on a machine of this platform
    that has no network; returns in words what is there. One that was stopped goes on from there.
    Raises Cancelled, DiskFull, or UserError with the last lines of uv or pip."""
    recipe, cancelled = recipe or Recipe(), cancelled or threading.Event()
    recipe.require_pins()
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            cache, venv = Path(scratch, "cache"), Path(scratch, "venv")
            run = Runner(cache, None, tell, cancelled)
            uv = find_uv(Path(scratch, "tools"), run)
            has_python = _fetch_python(folder / "python", cache, uv, recipe.python, run, tell)
            run([uv, "venv", "--python", recipe.python, str(venv)])
            python = str(python_in(venv))
            for packages in (Packages.locked("uv", "uv", LOCK), *recipe.packages):
                tell(f"Fetching {packages.says}")
                wheels = folder / packages.name
                if not gather(uv, python, packages, wheels, run, tell, cancelled):
                    run([uv, "pip", "install", "--python", python, "pip"])
                    index = _for_pip(packages.index)
                    run([python, "-m", "pip", "download", "-d", str(wheels), *index,
                         *packages.wanted])  # fmt: skip
    except OSError as error:
        raise from_os_error(error, f"filling {folder}", ROOM) from error
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    torch = " and ".join(path.name.split("-")[1] for path in folder.glob("torch/*torch-*.whl"))
    lack = "" if has_python else f" Python {recipe.python} must be on the machine it is for."
    return f"{folder} holds the engine with torch {torch}, {size / 1e9:.1f} GB.{lack}"


def _fetch_python(
    folder: Path, cache: Path, uv: str, version: str, run: Runner, tell: Tell
) -> bool:
    """Put the archive of a Python into ``folder``; whether it could be fetched."""
    if not _VERSION.fullmatch(version):
        return False
    tell(f"Fetching Python {version}")
    try:
        run([uv, "python", "install", version])
    except UserError as error:
        tell(f"{error.message} The folder will have no Python.")
        return False
    folder.mkdir(exist_ok=True)
    for earlier in folder.glob(_ARCHIVES):
        earlier.unlink()
    for archive in (cache / "python").glob(_ARCHIVES):
        shutil.move(archive, folder)
    return True


def _for_pip(index: tuple[str, ...]) -> list[str]:
    """pip's words for what --torch-backend means to uv."""
    build = index[-1] if "--torch-backend" in index else "auto"
    if build == "auto":
        return []
    return ["--extra-index-url", f"https://download.pytorch.org/whl/{build}"]


def find_folder(folder: Path) -> Path:
    """``folder``, or the one that ``bundle`` has filled in it. Raises BadRequest where there is no
    wheel in either."""
    for place in (folder, *sorted(folder.glob(f"{NAME}*"))):
        if wheels_in(place):
            return place
    raise BadRequest(
        f"There are no packages in {folder}.",
        f"Choose the folder {NAME}..., or empty Offline Folder to install with a network.",
    )


def wheels_in(folder: Path) -> list[Path]:
    return [*folder.glob("*.whl"), *folder.glob("*/*.whl")]


def find_python(uv: str, folder: Path, version: str, pythons: Path, run: Runner) -> str:
    """The Python that the wheels in ``folder`` are for: the one on this machine, or the folder's,
    unpacked under ``pythons``. Raises EngineMissing when there is neither."""
    try:
        # not one of an environment, such as a .venv in a folder around this
        run([uv, "python", "find", "--system", version])
    except UserError as error:
        archives = sorted((folder / "python").glob(_ARCHIVES))
        if not archives:
            raise EngineMissing(
                f"The wheels in {folder} are for Python {version}, which is not on this machine.",
                f"Install Python {version}, or install the engine with a network.",
            ) from error
        return str(_unpack(archives[-1], pythons))
    return version


def _unpack(archive: Path, pythons: Path) -> Path:
    """Unpack Python's ``archive`` in a folder of its own; its interpreter."""
    short = _SHORT.search(archive.name)
    place = pythons / (short[0] if short else archive.stem)
    if not place.exists():
        part = place.with_name(f"{place.name}.part")
        discard(part)
        try:
            with tarfile.open(archive) as files:
                files.extractall(long_path(part), filter="data")
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise EngineMissing(
                f"{archive} is damaged ({error}).", "Copy the folder once more."
            ) from error
        part.rename(place)
    found = [place / inner for inner in _PYTHONS if (place / inner).is_file()]
    if not found:
        raise EngineMissing(f"There is no Python in {archive}.", "Make the folder again.")
    return found[0]
