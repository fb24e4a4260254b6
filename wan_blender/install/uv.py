# SPDX-License-Identifier: GPL-3.0-or-later
"""uv and pip as child processes: found or fetched, with the user's index settings, cancellable.
stdlib only."""

from __future__ import annotations

import configparser
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ..core.errors import Cancelled, EngineMissing, UserError
from ..core.programs import find_program
from ..process.child import LAST_LINES, Child, child_environment, home_of

ROOM = "See that there is space and that the folder can be written, and try again."
LOCK = Path(__file__).parents[1] / "engine" / "installer.lock"

Tell = Callable[[str], None]
_PIN = re.compile(r"^uv==(\S+)", re.M)
# Programs with windows are often started without the PATH of the user's shell.
_USUAL = (Path.home() / ".local/bin", Path.home() / ".cargo/bin", Path("/opt/homebrew/bin"))
_CERTIFICATES = (Path("/etc/ssl/certs"), Path("/etc/pki/tls/certs"))
_BY_HAND = "Install uv yourself (docs.astral.sh/uv), and try again."
_REASON = 600  # letters of it that are shown
_PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "https_proxy", "http_proxy")


class Runner:
    """Runs one tool after the other, passes on what they say, and ends them when cancelled."""

    def __init__(
        self, cache: Path, offline: Path | None, tell: Tell, cancelled: threading.Event
    ) -> None:
        self._tell, self._cancelled, self._cwd = tell, cancelled, cache.parent
        self._environment = tool_environment(cache, offline)

    def __call__(self, command: Sequence[str]) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        lines: list[str] = []
        self._cwd.mkdir(parents=True, exist_ok=True)  # uv reads projects' files where it is run

        def hear(line: str) -> None:
            if text := line.strip():
                lines.append(text)
                self._tell(text)

        child = Child(command, hear, hear, environment=self._environment, folder=self._cwd)
        while not child.wait(0.1):
            if self._cancelled.is_set():
                child.terminate()
                child.wait()
                raise Cancelled
        code = child.code
        if code:
            raise UserError(
                f"{Path(command[0]).stem} failed ({code}): {_reason(lines[-LAST_LINES:])}",
                "Check the connection, the package index and the free space, then try again; "
                "packages that have arrived are kept.",
            )


def _reason(lines: Sequence[str]) -> str:
    """What uv or pip said from its error on."""
    starts = [at for at, line in enumerate(lines) if line.lower().startswith("error")]
    said = [line.removeprefix("cause: ").rstrip(".") for line in lines[min(starts, default=0) :]]
    return "; ".join(said)[:_REASON] + "."


def find_uv(tools: Path, run: Runner, offline: Path | None = None) -> str:
    """uv in the tools folder, on the PATH or where its own installer puts it, if it is not older
    than the pinned one; else that comes into the tools folder, from its wheel in the folder
    ``offline`` or by this Python's pip."""
    lock, own = LOCK.read_text(encoding="utf-8"), str(tools / "bin")
    pinned = _PIN.search(lock)
    wanted = _numbers(pinned[1] if pinned else "")
    for places in (own, None, os.pathsep.join(map(str, _USUAL))):
        found = find_program("uv", places)
        if found and _version(found) >= wanted:
            return found
    for wheel in offline.glob("**/uv-*.whl") if offline else ():
        if hashlib.sha256(wheel.read_bytes()).hexdigest() in lock:
            found = _unpack_uv(wheel, tools / "bin")
            if _version(found) >= wanted:  # else it is for another system
                return found
    try:
        run([*_pip(), "install", "--no-deps", "--require-hashes", "--upgrade",
             "--target", str(tools), "-r", str(LOCK)])  # fmt: skip
    except UserError as error:
        raise EngineMissing(
            f"uv, which installs the engine, could not be fetched. {error.message}", _BY_HAND
        ) from error
    found = find_program("uv", own)
    if not found:
        raise EngineMissing(f"uv was fetched but is not in {own}.", _BY_HAND)
    return found


def _unpack_uv(wheel: Path, folder: Path) -> str:
    """A wheel is a zip; its programs lie in uv-1.2.3.data/scripts."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as files:
        inside = next(n for n in files.namelist() if re.search(r"/scripts/uv(\.exe)?$", n))
        program = folder / Path(inside).name
        program.write_bytes(files.read(inside))
    program.chmod(0o755)
    return str(program)


def _pip() -> list[str]:
    """How to run this Python's pip. Blender's often comes without; then it is run from the wheel
    that it would be installed from. Raises EngineMissing where that is not there either."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    ensurepip = importlib.util.find_spec("ensurepip")
    origin = ensurepip.origin if ensurepip else None
    wheels = sorted(Path(origin).with_name("_bundled").glob("pip-*.whl")) if origin else []
    if not wheels:
        raise EngineMissing(
            f"uv, which installs the engine, is not there, and {sys.executable} has neither pip "
            "nor ensurepip to fetch it with.",
            _BY_HAND,
        )
    return [sys.executable, str(wheels[-1] / "pip")]


def _version(uv: str) -> list[int]:
    """Its numbers; none where it cannot be run."""
    try:
        done = subprocess.run(
            [uv, "--version"], cwd=home_of(uv), capture_output=True, text=True, check=False
        )
    except OSError:
        return []
    return _numbers(done.stdout)


def _numbers(version: str) -> list[int]:
    """By hand, for Blender's Python has no packaging."""
    found = re.search(r"\d+(\.\d+)+", version)
    return [int(number) for number in found[0].split(".")] if found else []


def python_in(folder: Path) -> Path:
    """The interpreter of an environment."""
    inner = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return folder.joinpath(*inner)


def tool_environment(cache: Path, offline: Path | None) -> dict[str, str]:
    """The child's environment: not the host's Python, the user's index, our own cache, and the
    Pythons that uv fetches in the folder ``pythons`` beside it."""
    kept = child_environment()
    kept["UV_CACHE_DIR"] = str(cache)
    kept["UV_PYTHON_CACHE_DIR"] = str(cache / "python")
    kept["UV_PYTHON_INSTALL_DIR"] = str(cache.parent / "pythons")
    kept["UV_PYTHON_INSTALL_BIN"] = "0"
    kept["UV_LINK_MODE"] = "copy"  # an environment must survive the removal of the cache
    kept["UV_NO_PROGRESS"] = "1"
    if offline is not None:
        inside = (path for path in offline.iterdir() if path.is_dir()) if offline.is_dir() else ()
        places = [place.absolute().as_uri() for place in (offline, *inside)]  # no space, no comma
        for name, between in (("UV", ","), ("PIP", " ")):
            kept[f"{name}_NO_INDEX"] = "1"
            kept[f"{name}_FIND_LINKS"] = between.join(places)
        kept["UV_OFFLINE"] = "1"
        return kept
    if _system_trusts():
        kept.setdefault("UV_SYSTEM_CERTS", "1")
    for ours, theirs, setting in (
        (("UV_DEFAULT_INDEX", "UV_INDEX_URL"), "PIP_INDEX_URL", "index-url"),
        (("UV_INDEX", "UV_EXTRA_INDEX_URL"), "PIP_EXTRA_INDEX_URL", "extra-index-url"),
        (("UV_FIND_LINKS",), "PIP_FIND_LINKS", "find-links"),
        (("UV_INSECURE_HOST",), "PIP_TRUSTED_HOST", "trusted-host"),
        (("SSL_CERT_FILE",), "PIP_CERT", "cert"),
        (_PROXIES, "PIP_PROXY", "proxy"),
    ):
        value = kept.get(theirs) or _pip_setting(setting)
        if value and not any(name in kept for name in ours):
            kept[ours[0]] = _for_uv(setting, value)
    return kept


def _system_trusts() -> bool:
    """Whether the system says whom to trust: a company's proxy is known there, and not to uv, which
    finds no one trustworthy where it is told to ask a system that says nothing."""
    return sys.platform != "linux" or any(
        place.is_dir() and any(place.iterdir()) for place in _CERTIFICATES
    )


def proxy_is_pips_alone() -> bool:
    """Whether a proxy is named in pip's settings only: uv is told of it, this process is not."""
    told = tool_environment(Path(), None)
    return any(told.get(name) != os.environ.get(name) for name in _PROXIES)


def _for_uv(setting: str, value: str) -> str:
    """pip's ``value`` as uv writes it: lists apart by spaces, find-links by commas."""
    if setting == "cert":
        return value
    if setting == "proxy":
        return value if "://" in value else f"http://{value}"
    return ("," if setting == "find-links" else " ").join(value.split())


def _pip_setting(name: str) -> str:
    """A value of [global] in pip's configuration, the user's before the machine's."""
    home = Path.home()
    places = [
        os.environ.get("PIP_CONFIG_FILE"),
        os.environ.get("APPDATA") and Path(os.environ["APPDATA"]) / "pip" / "pip.ini",
        Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf",
        home / ".pip" / "pip.conf",
        home / "Library" / "Application Support" / "pip" / "pip.conf",
        Path("/etc/pip.conf"),
    ]
    for place in places:
        if place and Path(place).is_file():
            parser = configparser.RawConfigParser()
            try:
                parser.read(place, encoding="utf-8")
            except (configparser.Error, OSError):
                continue
            if value := parser.get("global", name, fallback=""):
                return value.strip()
    return ""
