# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that can go wrong, as one tree. The text of an error stands where it is raised: search
for the name of its class.

WanError                  message, hint, code, exit_code
+-- UserError             shown to the user, no traceback
|   +-- BadRequest        exit 2: the request cannot be run as it stands
|   |   +-- NothingSelected   no plate strip
|   |   +-- UnsupportedClip   a strip that has no picture, missing media, zero length
|   |   +-- EmptyMask         nothing to generate on any frame
|   |   +-- LengthMismatch    mask and plate differ in frames
|   |   +-- SizeMismatch      mask and plate differ in pixels, or a size the model refuses
|   |   +-- InvalidJob        job.json or a setting is wrong; names the field
|   |   +-- InvalidBatch      batch.toml is wrong; names the line
|   |   +-- UnsafeWeights     pickles, remote code
|   |   +-- WeightsMissing    a model folder or file is absent or incomplete
|   |   +-- WrongModel        the model cannot do what the job asks
|   +-- DamagedResult     files of a finished result are missing or not as they were written
|   +-- WrongPackage      a package is not the one whose hash this extension knows
|   +-- NotFinite         a model produced values that are not finite
|   +-- JobBusy           exit 75: another process works in the job folder
|   +-- EngineMissing     no Python with torch to run the engine
|   +-- OutOfMemory
|   +-- DiskFull          also read-only folders
+-- EngineError           goes to the log with its traceback
|   +-- EngineDied        the child process ended; carries its last log lines
|   +-- ProtocolError     a message that does not parse, another protocol version
|   +-- BrokenPromise     a result that is not what every result is: a bug of ours
+-- Cancelled             exit 130
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path


class WanError(Exception):
    """An error with a stable ``code`` (the class name), a message and what to do about it.

    ``str()`` gives both sentences, so the error reads well wherever it surfaces.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    @property
    def code(self) -> str:
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def to_dict(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message, "hint": self.hint}


class UserError(WanError):
    pass


class BadRequest(UserError):
    exit_code = 2


class NothingSelected(BadRequest):
    pass


class UnsupportedClip(BadRequest):
    pass


class EmptyMask(BadRequest):
    pass


class LengthMismatch(BadRequest):
    pass


class SizeMismatch(BadRequest):
    pass


class InvalidJob(BadRequest):
    pass


class InvalidBatch(BadRequest):
    pass


class UnsafeWeights(BadRequest):
    pass


class WeightsMissing(BadRequest):
    pass


class WrongModel(BadRequest):
    pass


class DamagedResult(UserError):
    pass


class WrongPackage(UserError):
    pass


class NotFinite(UserError):
    pass


class JobBusy(UserError):
    exit_code = 75  # EX_TEMPFAIL of sysexits.h: schedulers try again and blame nobody


class EngineMissing(UserError):
    pass


class OutOfMemory(UserError):
    pass


class DiskFull(UserError):
    pass


class EngineError(WanError):
    pass


class EngineDied(EngineError):
    pass


class ProtocolError(EngineError):
    pass


class BrokenPromise(EngineError):
    pass


class Cancelled(WanError):
    exit_code = 130

    def __init__(self, message: str = "Cancelled.", hint: str = "") -> None:
        super().__init__(message, hint)


def _subclasses(cls: type[WanError]) -> dict[str, type[WanError]]:
    found = {cls.__name__: cls}
    for child in cls.__subclasses__():
        found |= _subclasses(child)
    return found


def from_dict(data: dict[str, str]) -> WanError:
    """The error that ``to_dict`` described; an unknown code becomes an EngineError."""
    cls = _subclasses(WanError).get(data.get("code", ""), EngineError)
    return cls(data.get("message", "unknown error"), data.get("hint", ""))


def disk_full(message: str, folder: Path) -> DiskFull:
    """For writers that do not say why they failed: ``message``, and what is free in ``folder``."""
    free_mb = shutil.disk_usage(folder).free / 1e6
    return DiskFull(
        f"{message} {free_mb:.1f} MB are free in {folder}.",
        "Free some space or choose another job folder, then run the job again.",
    )


def from_os_error(error: OSError, doing: str, hint: str = "") -> WanError:
    """A full disk or a read-only folder as DiskFull, with the path; a path that names the wrong
    thing as BadRequest; others as UserError.

    ``doing`` completes "... while <doing>", for instance "writing the result"; ``hint`` says what
    to do when it is not about a job.
    """
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            f"The disk is full{where} while {doing}.",
            hint or "Free some space or choose another job folder, then run the job again.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DiskFull(
            f"The folder cannot be written{where} while {doing}.",
            hint
            or "Choose a job folder you may write to in the preferences, then run the job again.",
        )
    told = f"{error.strerror or error}{where} while {doing}."
    if error.errno in _MISPLACED:
        return BadRequest(told, _MISPLACED[error.errno])
    return UserError(told, "Check that path and disk.")


_MISPLACED = {
    errno.EEXIST: "A file is where a folder is to be: give another path, or move it away.",
    errno.ENOTDIR: "A file is where a folder is to be: give another path, or move it away.",
    errno.EISDIR: "A folder is where a file is to be: move it away.",
    errno.ENOENT: "Give a path that exists, or can be made.",
    errno.ENAMETOOLONG: "Give a shorter path.",
}
