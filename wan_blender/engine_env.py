# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's own Python environment: made, checked, repaired, rolled back, removed.

    home/engines/20261121-0930-1a2b3c4d/   one environment, complete when it holds done.json
    home/engines/current.json              which one is used, and which one before it
    home/engines/tools/  cache/            uv and what it has downloaded
    home/engines/wheels/                   the packages: an install that was stopped goes on from
                                           there, in the middle of a file too

Every install goes into a folder of its own and becomes current only after its packages were
imported in it, so a failed one changes nothing and a rollback is one small file. No admin rights,
no shell. The user's package index settings (pip's and uv's) and proxies are honoured. With an
``offline`` folder of wheels nothing is fetched. stdlib only; Blender calls it from a thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from .errors import DiskFull, EngineMissing, UserError, from_os_error
from .installer import LOCK, Runner, Tell, find_uv, proxy_is_pips_alone
from .process import child_environment
from .wheels import gather

_ENGINE = Path(__file__).with_name("engine")
_NEEDED_GB = {"cpu": 5}  # the CUDA and ROCm builds of torch are much larger
_NEEDED_GB_GPU = 17  # wheels, what uv unpacks of them, and the environment
_ANY_BUILD = ("auto", "index")
_TORCH = re.compile(r"^torch==\S+", re.M)


@dataclass(frozen=True)
class Recipe:
    """What to install. The defaults are the engine's; tests use smaller ones."""

    lock: Path = _ENGINE / "requirements.lock"
    torch: str = ""  # empty: the version in requirements.txt; "none": no torch
    # uv's name of torch's build: auto, cpu, cu128, rocm6.4, ...; "index": the user's index's
    backend: str = "auto"
    python: str = "3.12"  # a version uv provides, or the path of an interpreter
    imports: tuple[str, ...] = ("torch", "diffusers", "transformers", "gguf", "cv2", "av")
    offline: Path | None = None  # a folder of wheels made by ``bundle``

    @property
    def packages(self) -> str:
        if self.torch:
            return self.torch
        return _TORCH.search((_ENGINE / "requirements.txt").read_text(encoding="utf-8"))[0]

    @property
    def digest(self) -> str:
        """Changes when an installed environment is out of date."""
        text = self.lock.read_bytes() + self.packages.encode()
        return hashlib.sha256(text).hexdigest()[:16]


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
    python = _python_in(_engines(home) / name) if name else None
    return python if python and python.is_file() else None


def status(home: Path, recipe: Recipe | None = None) -> Status:
    """Looks at files only, so it may be asked while a panel is drawn."""
    recipe = recipe or Recipe()
    name = _read(home).get("current", "")
    if not name:
        return Status("missing", "The engine is not installed.", "Install it.")
    folder = _engines(home) / name
    python = _python_in(folder)
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
    cancelled = cancelled or threading.Event()
    cache = _engines(home) / "cache"
    run = Runner(cache, recipe.offline, tell, cancelled)
    _check_space(home, recipe)
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
    folder = _engines(home) / name
    try:
        _remove_unfinished(home)
        uv = find_uv(_engines(home) / "tools", run)
        if recipe.offline:
            _find_offline(uv, recipe, run)
        tell("Making the environment")
        run([uv, "venv", "--python", recipe.python, str(folder)])
        python = str(_python_in(folder))
        kept = _install_packages(uv, python, home, recipe, run, tell, cancelled)
        tell("Checking the environment")
        run([python, "-c", f"import {', '.join(recipe.imports)}"])
        _write_json(folder / "done.json", {"digest": recipe.digest, "made": time.time()})
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise from_os_error(error, "installing the engine") from error
        raise
    _use(home, name, recipe)
    if kept:
        shutil.rmtree(cache, ignore_errors=True)  # what uv unpacked; a repair has the wheels
    tell("The engine is installed")
    return Path(python)


def _install_packages(
    uv: str, python: str, home: Path, recipe: Recipe, run: Runner, tell: Tell,
    cancelled: threading.Event,
) -> bool:  # fmt: skip
    """torch and the locked packages; whether the wheels of both were fetched here and are kept."""
    kept = []

    def install(name: str, requirements: str, index: list[str], wanted: list[str]) -> None:
        """``index`` says where uv finds what is wanted, unless that was fetched here."""
        wheels = _engines(home) / "wheels" / name
        alone = [word for word in wanted if word == "--no-deps"]
        find = [uv, "pip", "compile", "--quiet", "--python", python, *alone, *index]
        if not recipe.offline and all(kept) and not proxy_is_pips_alone():
            kept.append(gather(find, requirements, wheels, run, tell, cancelled))
            if kept[-1]:
                index = ["--no-index", "--find-links", str(wheels)]
        run([uv, "pip", "install", "--python", python, *index, *wanted])

    if recipe.packages != "none":
        tell(f"Installing {recipe.packages}; its GPU builds are several GB")
        own = recipe.offline or recipe.backend == "index"
        build = [] if own else ["--torch-backend", recipe.backend]
        install("torch", recipe.packages, build, [recipe.packages])
    tell("Installing the packages")
    # Every hash is known, so it does not matter which of the user's indexes answers.
    install("locked", recipe.lock.read_text(encoding="utf-8"),
            ["--index-strategy", "unsafe-best-match"],
            ["--no-deps", "--require-hashes", "-r", str(recipe.lock)])  # fmt: skip
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


def rollback(home: Path, recipe: Recipe | None = None) -> Path:
    """Use the environment before the current one again, once its packages were imported in it.
    Raises EngineMissing when there is none that works; then the current one stays."""
    recipe = recipe or Recipe()
    previous = _read(home).get("previous", "")
    if not previous or not _read_json(_engines(home) / previous / "done.json"):
        raise EngineMissing(
            "There is no earlier environment to go back to.", "Install the engine again."
        )
    python = _python_in(_engines(home) / previous)
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
            command, env=child_environment(), capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"{python} cannot be run: {error.strerror}"
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]


def uninstall(home: Path) -> None:
    """Remove every environment, uv and its cache. Models and jobs are not in there."""
    try:
        if _engines(home).exists():
            shutil.rmtree(_engines(home))
    except OSError as error:
        raise from_os_error(error, "removing the engine") from error


def bundle(folder: Path, recipe: Recipe | None = None, tell: Tell = lambda _line: None) -> None:
    """Gather the wheels of ``recipe`` in ``folder``, for machines without a network that are of
    this platform and have ``recipe.python``. The backends "auto" and "index" take the torch that
    the package index has."""
    recipe = recipe or Recipe()
    with tempfile.TemporaryDirectory() as scratch:
        run = Runner(Path(scratch, "cache"), recipe.offline, tell, threading.Event())
        uv = find_uv(Path(scratch, "tools"), run)
        run([uv, "venv", "--python", recipe.python, str(Path(scratch, "python"))])
        python = str(_python_in(Path(scratch, "python")))
        run([uv, "pip", "install", "--python", python, "pip"])
        pip = [python, "-m", "pip", "download", "-d", str(folder)]
        exact = ["--no-deps", "--require-hashes", "-r"]
        run([*pip, *exact, str(LOCK)])
        run([*pip, *exact, str(recipe.lock)])
        if recipe.packages != "none":
            run([*pip, *_torch_index(recipe.backend), recipe.packages])


def _torch_index(backend: str) -> list[str]:
    """pip's words for what --torch-backend means to uv."""
    if backend in _ANY_BUILD:
        return []
    return ["--extra-index-url", f"https://download.pytorch.org/whl/{backend}"]


def _find_offline(uv: str, recipe: Recipe, run: Runner) -> None:
    """Raise EngineMissing unless the Python that the wheels are for is on this machine."""
    try:
        run([uv, "python", "find", recipe.python])
    except UserError as error:
        raise EngineMissing(
            f"The wheels in {recipe.offline} are for Python {recipe.python}, which is not on this "
            "machine.",
            f"Install Python {recipe.python}, or install the engine with a network.",
        ) from error


def _engines(home: Path) -> Path:
    return home / "engines"


def _python_in(folder: Path) -> Path:
    inner = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return folder.joinpath(*inner)


def _read(home: Path) -> dict[str, str]:
    return _read_json(_engines(home) / "current.json")


def _read_json(path: Path) -> dict[str, str]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _write_json(path: Path, data: dict[str, object]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)


def _use(home: Path, name: str, recipe: Recipe) -> None:
    """Make ``name`` current, keep the one before it that works for a rollback, remove the rest."""
    names = _read(home)
    earlier = [n for n in (names.get("current"), names.get("previous")) if n and n != name]
    working = (n for n in earlier if not _fault(_python_in(_engines(home) / n), recipe))
    before = next(working, "")
    _write_json(_engines(home) / "current.json", {"current": name, "previous": before})
    for folder in _engines(home).iterdir():
        if (folder / "pyvenv.cfg").exists() and folder.name not in (name, before):
            shutil.rmtree(folder, ignore_errors=True)


def _remove_unfinished(home: Path) -> None:
    _engines(home).mkdir(parents=True, exist_ok=True)
    used = _read(home).values()
    for folder in _engines(home).iterdir():
        unfinished = (folder / "pyvenv.cfg").exists() and not (folder / "done.json").exists()
        if unfinished and folder.name not in used:
            shutil.rmtree(folder, ignore_errors=True)


def _check_space(home: Path, recipe: Recipe) -> None:
    if recipe.packages == "none":
        return
    arrived = sum(p.stat().st_size for p in (_engines(home) / "wheels").rglob("*") if p.is_file())
    needed = _NEEDED_GB.get(recipe.backend, _NEEDED_GB_GPU) - arrived / 1e9
    folder = home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise DiskFull(
            f"The engine needs about {needed:.0f} GB; {folder} has {free:.1f} GB free.",
            "Free some space, or choose another folder.",
        )


if __name__ == "__main__":
    if sys.argv[1:2] != ["bundle"] or len(sys.argv) not in (3, 4):
        sys.exit("python -m wan_blender.engine_env bundle FOLDER [auto|index|cpu|cu128|...]")
    bundle(Path(sys.argv[2]), Recipe(backend=(*sys.argv, "auto")[3]), print)
