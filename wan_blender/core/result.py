# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a job on disk: made durable, put in its place, found damaged. stdlib only.

A run writes into ``result.part``. What it wrote is synced to the disk, then its report, which
lists each file with size and SHA-256; then it takes the place of ``result`` by a rename. Until
that stands the earlier result is kept as ``result.earlier``, from where ``recover_earlier`` puts
it back after a run that was cut off between its two renames. A report without all of its files,
whole, is a damaged result.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from pathlib import Path, PurePosixPath

from .answers.report import Report
from .answers.typed import read, to_json
from .errors import DamagedResult
from .files import open_file, read_json, sync_folder, write_json

RESULT, PART, EARLIER = "result", "result.part", "result.earlier"
REPORT = "report.json"
REPORT_BYTES = 64 << 20  # it holds a line for each frame and each file
_FILES_AT_MOST = 200_000
_BLOCK = 1 << 20


def list_files(result: Path) -> dict[str, tuple[int, str]]:
    """Of each file below ``result`` but its report: size and SHA-256, synced to the disk. The keys
    are paths with forward slashes, sorted."""
    found: dict[str, tuple[int, str]] = {}
    folders = [result]
    for path in sorted(result.rglob("*")):
        if path.is_dir():
            folders.append(path)
        elif path != result / REPORT:
            found[path.relative_to(result).as_posix()] = _measure(path, sync=True)
    for folder in folders:
        sync_folder(folder)
    return found


def publish(folder: Path) -> None:
    """Put the finished ``result.part`` of the job ``folder`` in the place of its result. Files that
    others put into the earlier result stay."""
    result, part, earlier = folder / RESULT, folder / PART, folder / EARLIER
    recover_earlier(folder)
    if result.exists():
        shutil.rmtree(earlier, ignore_errors=True)
        os.replace(result, earlier)
    os.replace(part, result)
    sync_folder(folder)
    _keep_others(earlier, result)
    shutil.rmtree(earlier, ignore_errors=True)


def recover_earlier(folder: Path) -> None:
    """After a run that was cut off between its two renames, put back what it was replacing."""
    if not (folder / RESULT).exists() and (folder / EARLIER).is_dir():
        os.replace(folder / EARLIER, folder / RESULT)
        sync_folder(folder)


def find_result(folder: Path) -> Path | None:
    """The folder of the finished result, or None. Done is the rename that makes it appear."""
    for name in (RESULT, EARLIER):
        report = folder / name / REPORT
        if report.is_file() and not report.is_symlink():
            return folder / name
    return None


def read_report(result: Path) -> Report:
    """What the run reported; answers/typed.py says how that of another version is read. Raises
    DamagedResult where it cannot be read."""
    try:
        return read(Report, read_json(result / REPORT, REPORT_BYTES), "it")
    except (OSError, ValueError) as error:
        raise DamagedResult(f"The report in {result} cannot be read: {error}.", _AGAIN) from error


def write_report(result: Path, report: Report) -> None:
    """Raises OSError, ValueError for numbers that are not finite."""
    write_json(result / REPORT, to_json(report))


def verify(result: Path, hashes: bool = False) -> Report:
    """The report of a result whose files are all there and as large as they were; with ``hashes``
    they are read, too. Raises DamagedResult that names the first that is not."""
    report = read_report(result)
    if not 0 < len(report.files) <= _FILES_AT_MOST:
        raise DamagedResult(f"The report in {result} lists no files.", _AGAIN)
    for name, noted in report.files.items():
        fault = _fault(result, name, noted, hashes)
        if fault:
            raise DamagedResult(f"The result in {result} is damaged: {name} {fault}.", _AGAIN)
    return report


_AGAIN = "Run the job again; the frames that were exported are still there."


def _fault(result: Path, name: str, noted: tuple[int, str], hashes: bool) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        return "lies outside it"
    try:
        size, digest = _measure(result / path) if hashes else (_size(result / path), "")
    except OSError as error:
        return "is missing" if error.errno == errno.ENOENT else f"cannot be read ({error})"
    if size != noted[0]:
        return f"has {size} bytes instead of {noted[0]}"
    return "is not what was written" if hashes and digest != noted[1] else ""


def _size(path: Path) -> int:
    """Of a regular file, without opening it: thousands are checked while Blender waits."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.ELOOP, "is not a regular file", str(path))
    return found.st_size


def _measure(path: Path, sync: bool = False) -> tuple[int, str]:
    """Size and SHA-256 of a regular file, which is written to the disk with ``sync``."""
    flags = os.O_RDWR if sync else os.O_RDONLY
    descriptor = open_file(path, flags)
    with os.fdopen(descriptor, "rb") as file:
        if sync:
            os.fsync(descriptor)
        size, digest = os.fstat(descriptor).st_size, hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
    return size, digest.hexdigest()


def _keep_others(earlier: Path, result: Path) -> None:
    """Move what the earlier run did not write into the new result, under names it does not use."""
    if not earlier.is_dir():
        return
    own = {REPORT}
    with contextlib.suppress(DamagedResult):
        own |= set(read_report(earlier).files)
    for path in sorted(earlier.rglob("*")):
        name = path.relative_to(earlier)
        if not path.is_file() or path.is_symlink() or name.as_posix() in own:
            continue
        target = result / name
        with contextlib.suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                os.replace(path, target)
