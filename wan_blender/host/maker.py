# SPDX-License-Identifier: GPL-3.0-or-later
"""Which job folders were made on this machine, by this user. stdlib only.

A folder's origin carries a mark that only who holds the user's secret can make, over the folder's
name. A folder that came with somebody's project has none that fits; it may be run after a question.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from ..core.files import open_file, read_bytes

SECRET = "maker"  # the file's name, among the user's own data


def mark(folder: Path, data: Path) -> str:
    """The mark of a job folder made here; "" where the user's data cannot be written."""
    secret = _secret(data)
    return hmac.new(secret, folder.name.encode(), hashlib.sha256).hexdigest() if secret else ""


def is_ours(folder: Path, given: object, data: Path) -> bool:
    """Whether ``given`` is the mark of ``folder``."""
    return isinstance(given, str) and bool(given) and hmac.compare_digest(given, mark(folder, data))


def _secret(data: Path) -> bytes:
    path = data / SECRET
    with contextlib.suppress(OSError):
        data.mkdir(parents=True, exist_ok=True)
        descriptor = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        path.chmod(0o600)
    try:
        secret = read_bytes(path, 64)
    except OSError:
        return b""
    return secret if len(secret) == 32 else b""
