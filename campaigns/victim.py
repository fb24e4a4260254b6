# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that is killed before one of its file operations, and a disk that forgets what was not
synced. POSIX."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .tally import Broken

# Of Python's audit events; syncs are counted as well.
OPERATIONS = {
    "open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.copyfile",
    "shutil.rmtree",
}  # fmt: skip
LIMIT_S = 300.0
ORPHANS_S = 10.0  # in which what a killed process had started has to end


@dataclass(frozen=True)
class End:
    """``code`` is the exit code, -9 after a kill; ``operations`` how many there were."""

    code: int
    operations: int
    said: str


class Disk:
    """What a power cut would leave of ``folder``: files as they were when they were synced, and
    empty where they never were. Files are known by their inode, folders by the names in them."""

    def __init__(self, folder: Path, shadow: Path) -> None:
        self.folder, self._shadow = folder, shadow
        shadow.mkdir(parents=True)
        for path in [folder, *folder.rglob("*")]:
            self.sync(path)

    def sync(self, path: Path | int) -> None:
        found = os.stat(path)
        kept = self._shadow / str(found.st_ino)
        if os.path.isdir(path):
            names = {e.name: [e.inode(), e.is_dir()] for e in os.scandir(path)}
            kept.with_suffix(".folder").write_text(json.dumps(names))
        elif isinstance(path, int):
            kept.write_bytes(Path(f"/proc/self/fd/{path}").read_bytes())
        else:
            shutil.copyfile(path, kept)

    def cut(self, names: bool) -> None:
        """The power goes. With ``names`` what was renamed, made or removed in a folder since it was
        synced is as before; else only contents are lost."""
        if not names:
            for path in [p for p in self.folder.rglob("*") if p.is_file()]:
                path.write_bytes(self._contents(path.stat().st_ino))
            return
        number = self.folder.stat().st_ino
        fresh = self.folder.with_name(self.folder.name + ".after")
        self._rebuild(number, fresh)
        shutil.rmtree(self.folder)
        fresh.rename(self.folder)

    def _rebuild(self, number: int, place: Path) -> None:
        place.mkdir()
        listed = self._shadow / f"{number}.folder"
        names = json.loads(listed.read_text()) if listed.exists() else {}
        for name, (inner, is_folder) in names.items():
            if is_folder:
                self._rebuild(inner, place / name)
            else:
                (place / name).write_bytes(self._contents(inner))

    def _contents(self, number: int) -> bytes:
        kept = self._shadow / str(number)
        return kept.read_bytes() if kept.exists() else b""


def run(
    work: Callable[[], object],
    root: Path,
    kill_at: int = 0,
    kill_after_s: float = 0.0,
    disk: Disk | None = None,
) -> End:
    """``work()`` in a forked process with a group of its own. It is killed before its
    ``kill_at``-th operation on files below ``root``, or after ``kill_after_s``. Raises Broken where
    it does not end, or leaves a process behind."""
    told = root.with_name(f".{root.name}.told")
    told.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        _be_victim(work, root, kill_at, told, disk)
    began = time.monotonic()
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        spent_s = time.monotonic() - began
        if spent_s > LIMIT_S or (kill_after_s and spent_s > kill_after_s):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(ended[1])
    _wait_for_orphans(root)
    said, operations = "", 0
    with contextlib.suppress(OSError, ValueError):
        said, operations = json.loads(told.read_text())
    if time.monotonic() - began > LIMIT_S:
        raise Broken(f"It did not end within {LIMIT_S:.0f} s")
    return End(code, operations, said)


def _be_victim(
    work: Callable[[], object], root: Path, kill_at: int, told: Path, disk: Disk | None
) -> None:
    """Does not return."""
    count, below, owner = 0, f"{root}{os.sep}", os.getpid()

    def look(event: str, arguments: tuple[object, ...]) -> None:
        if event not in OPERATIONS and event != "campaign.sync":
            return
        if not any(str(a).startswith(below) for a in arguments if isinstance(a, (str, Path))):
            return
        nonlocal count
        count += 1
        if count == kill_at and os.getpid() == owner:
            os.kill(owner, signal.SIGKILL)

    def sync(descriptor: int) -> None:
        look("campaign.sync", (f"{below}synced",))
        if disk:
            disk.sync(descriptor)

    said, code = "", 0
    try:
        if disk:
            os.fsync = sync
        sys.addaudithook(look)
        work()
    except BaseException:  # noqa: BLE001 - it is told by the parent
        said, code = traceback.format_exc(), 3
    with contextlib.suppress(OSError):
        told.write_text(json.dumps([said, count]))
    os._exit(code)


def _wait_for_orphans(root: Path) -> None:
    """Raises Broken where a process that works below ``root`` outlives who started it."""
    deadline = time.monotonic() + ORPHANS_S
    while found := _processes_at(root):
        if time.monotonic() > deadline:
            for pid in found:
                os.kill(pid, signal.SIGKILL)
            raise Broken(f"{len(found)} processes live on after a kill: {found}")
        time.sleep(0.05)


def _processes_at(root: Path) -> list[int]:
    """Those whose command names ``root``; nobody else's does."""
    found, sought = [], f"{root}{os.sep}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if sought in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found
