# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's own Python environment: made, checked, repaired, rolled back, removed.

    home/engines/env-1a2b3c4d/             one environment, complete when it holds done.json
    home/engines/current.json              which one is used, and which one before it
    home/engines/tools/  cache/            uv and what it has downloaded
    home/engines/pythons/                  the Pythons of the environments
    home/engines/wheels/                   the packages: an install that was stopped goes on from
                                           there, in the middle of a file too

Every install goes into a folder of its own and becomes current only after its packages were
imported in it, so a failed one changes nothing and a rollback is one small file. No admin rights,
no shell. The user's package index settings (pip's and uv's) and proxies are honoured. With a
recipe's ``offline`` folder nothing is fetched. stdlib only; Blender calls it from a thread.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.errors import DiskFull, EngineMissing, UserError, from_os_error
from ..core.files import read_json, write_json
from ..core.programs import find_program
from ..process.child import child_environment, home_of
from . import offline
from .recipe import PYPI, Recipe
from .trash import discard, holds_trash, long_path, sweep
from .uv import ROOM, Runner, Tell, find_uv, python_in
from .wheels import gather

_NEEDED_GB, _NEEDED_GB_GPU = 5, 17  # with a CUDA or ROCm build of torch
_AMD = Path("/dev/kfd")  # where there is a driver for AMD's cards


@dataclass(frozen=True)
class Status:
    """``state``: missing, ready, outdated or broken. One sentence and what to do about it."""

    state: str
    says: str
    remedy: str = ""
    python: Path | None = None


def current_python(home: Path) -> Path | None:
    """The interpreter of the environment in use, or None."""
    name = _read(home).get("current", "")
    python = python_in(_engines(home) / name) if name else None
    return python if python and python.is_file() else None


def status(home: Path, recipe: Recipe | None = None) -> Status:
    """Looks at files only, so it may be asked while a panel is drawn."""
    recipe = recipe or Recipe()
    name = _read(home).get("current", "")
    if not name:
        return Status("missing", "The engine is not installed.", "Install it.")
    folder = _engines(home) / name
    python = python_in(folder)
    done = _read_json(folder / "done.json")
    if not done or not python.is_file():
        return Status("broken", f"The engine's environment {folder} is damaged.", "Repair it.")
    if done.get("digest") != recipe.digest:
        return Status("outdated", "The engine is older than the extension.", "Upgrade it.", python)
    return Status("ready", f"The engine is installed in {folder}.", "", python)


def install(
    home: Path,
    recipe: Recipe | None = None,
    tell: Tell = lambda _line: None,
    cancelled: threading.Event | None = None,
) -> Path:
    """Make an environment beside the current one, check it, and use it from now on.

    Also repairs and upgrades. ``tell`` gets lines of progress. Raises Cancelled, DiskFull, or
    UserError with the installer's last lines; then the current environment is as it was.
    """
    recipe = recipe or Recipe()
    recipe.require_pins()
    cancelled = cancelled or threading.Event()
    if recipe.offline:
        recipe = replace(recipe, offline=offline.find_folder(recipe.offline))
    cache = _engines(home) / "cache"
    run = Runner(cache, recipe.offline, tell, cancelled)
    _check_space(home, recipe)
    name = f"env-{uuid.uuid4().hex[:8]}"
    folder = _engines(home) / name
    try:
        _remove_unfinished(home)
        uv = find_uv(_engines(home) / "tools", run, recipe.offline)
        tell("Making the environment")
        _make(uv, folder, home, recipe, run, tell)
        python = str(python_in(folder))
        kept = _install_packages(uv, python, home, recipe, run, tell, cancelled)
        tell("Checking the environment")
        run([python, "-c", f"import {', '.join(recipe.imports)}"])
        if hasattr(os, "sync"):  # tens of thousands of files, before they are called done
            os.sync()
        write_json(folder / "done.json", {"digest": recipe.digest, "made": time.time()})
    except BaseException as error:
        discard(folder)
        if isinstance(error, OSError):
            raise from_os_error(error, "installing the engine", ROOM) from error
        raise
    _use(home, name, recipe)
    if kept:  # then a repair has the wheels
        shutil.rmtree(long_path(cache), ignore_errors=True)
    tell("The engine is installed")
    return Path(python)


def _make(uv: str, folder: Path, home: Path, recipe: Recipe, run: Runner, tell: Tell) -> None:
    """The environment without packages, of the recipe's Python or, where that cannot be had, of the
    one that runs this: Blender's."""
    make = [uv, "venv", "--python"]
    if recipe.offline:
        python = offline.find_python(
            uv, recipe.offline, recipe.python, _engines(home) / "pythons", run
        )
        return run([*make, python, str(folder)])
    try:
        run([*make, recipe.python, str(folder)])
    except UserError as error:
        tell(f"{error.message} Blender's own Python {platform.python_version()} is used.")
        run([*make, sys.executable, str(folder)])


def _install_packages(
    uv: str, python: str, home: Path, recipe: Recipe, run: Runner, tell: Tell,
    cancelled: threading.Event,
) -> bool:  # fmt: skip
    """torch and the locked packages; whether the wheels of both were fetched here and are kept."""
    kept: list[bool] = []
    for group in recipe.packages:
        tell(f"Installing {group.says}")
        index, wheels = group.index, _engines(home) / "wheels" / group.name
        if not recipe.offline and all(kept):
            kept.append(gather(uv, python, group, wheels, run, tell, cancelled))
            if kept[-1]:
                index = ("--no-index", "--find-links", str(wheels))
        # An engine is not to write bytecode, and without any each start would compile three
        # thousand modules again.
        command = [uv, "pip", "install", "--compile-bytecode", "--python", python]
        run([*command, *index, *group.wanted])
    return bool(kept) and all(kept)


def check(home: Path, recipe: Recipe | None = None) -> Status:
    """Like ``status``, and imports the packages to be sure. Takes seconds."""
    recipe = recipe or Recipe()
    found = status(home, recipe)
    if found.python is None:
        return found
    if fault := _fault(found.python, recipe):
        return Status("broken", f"The engine's packages do not work: {fault}", "Repair it.")
    return found


def earlier(home: Path) -> str:
    """The name of the environment before the current one; "" where there is none."""
    name = _read(home).get("previous", "")
    return name if name and _read_json(_engines(home) / name / "done.json") else ""


def rollback(home: Path, recipe: Recipe | None = None) -> Path:
    """Use the environment before the current one again, once its packages were imported in it.
    Raises EngineMissing when there is none that works; then the current one stays."""
    recipe = recipe or Recipe()
    previous = earlier(home)
    if not previous:
        raise EngineMissing(
            "There is no earlier environment to go back to.", "Install the engine again."
        )
    python = python_in(_engines(home) / previous)
    if fault := _fault(python, recipe):
        raise EngineMissing(
            f"The earlier environment does not work: {fault}", "Install the engine again."
        )
    _use(home, previous, recipe)
    return python


def _fault(python: Path, recipe: Recipe) -> str:
    """What importing the packages ends with; "" when they work. Takes seconds."""
    command = [str(python), "-c", f"import {', '.join(recipe.imports)}"]
    try:
        done = subprocess.run(
            command, env=child_environment(), cwd=home_of(python), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    except OSError as error:
        return f"{python} cannot be run: {error.strerror}"
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]


def uninstall(home: Path) -> None:
    """Remove every environment, uv and its cache. Models and jobs are not in there. Takes seconds;
    from the first moment on no engine is installed. Raises UserError where a file is in use; then
    all is as it was."""
    sweep(home)
    if not discard(_engines(home)):
        raise UserError(
            f"The engine in {_engines(home)} is in use or cannot be removed.",
            "End what uses it, also in other windows of Blender, and try again.",
        )


def is_there(home: Path) -> bool:
    """Whether there is anything to remove: an engine, or what was left of one."""
    return _engines(home).exists() or holds_trash(home)


def _engines(home: Path) -> Path:
    return home / "engines"


def _read(home: Path) -> dict[str, str]:
    return _read_json(_engines(home) / "current.json")


def _read_json(path: Path) -> dict[str, str]:
    try:
        data = read_json(path)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _use(home: Path, name: str, recipe: Recipe) -> None:
    """Make ``name`` current, keep the one before it that works for a rollback, remove the rest."""
    names = _read(home)
    others = [n for n in (names.get("current"), names.get("previous")) if n and n != name]
    working = (n for n in others if not _fault(python_in(_engines(home) / n), recipe))
    before = next(working, "")
    write_json(_engines(home) / "current.json", {"current": name, "previous": before})
    for folder in _engines(home).glob("env-*"):
        if folder.name not in (name, before):
            discard(folder)


def _remove_unfinished(home: Path) -> None:
    _engines(home).mkdir(parents=True, exist_ok=True)
    sweep(home)
    sweep(_engines(home))
    used = _read(home).values()
    for folder in _engines(home).glob("env-*"):
        if not (folder / "done.json").exists() and folder.name not in used:
            discard(folder)


def _needed_gb(recipe: Recipe) -> float:
    """Wheels, what uv unpacks of them, and the environment; as torch's build may be a large one."""
    if recipe.offline:
        return 3 * sum(wheel.stat().st_size for wheel in offline.wheels_in(recipe.offline)) / 1e9
    if recipe.backend == "auto":
        has_card = find_program("nvidia-smi") or _AMD.exists()
        is_large = sys.platform != "darwin" and bool(has_card)
    elif recipe.backend in (PYPI, "index"):
        is_large = sys.platform == "linux"
    else:
        is_large = recipe.backend != "cpu"
    return _NEEDED_GB_GPU if is_large else _NEEDED_GB


def _check_space(home: Path, recipe: Recipe) -> None:
    arrived = sum(p.stat().st_size for p in (_engines(home) / "wheels").rglob("*") if p.is_file())
    needed = _needed_gb(recipe) - arrived / 1e9
    folder = home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise DiskFull(
            f"The engine needs about {needed:.0f} GB; {folder} has {free:.1f} GB free.",
            "Free some space there, and try again.",
        )
