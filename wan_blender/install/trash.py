# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing folders with torch in them: their paths are longer than Windows allows by default, and
files in use cannot be removed there. stdlib only."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

_TRASH = "trash-"


def long_path(path: Path) -> Path:
    """``path`` as Windows takes it at any length."""
    return Path(f"\\\\?\\{path.absolute()}") if os.name == "nt" else path


def discard(folder: Path) -> bool:
    """Remove ``folder`` and all in it, or nothing: False where a file in it is in use. What cannot
    be removed then is left for ``sweep``."""
    trash = folder.with_name(f"{_TRASH}{uuid.uuid4().hex[:8]}")
    try:
        long_path(folder).rename(long_path(trash))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    shutil.rmtree(long_path(trash), ignore_errors=True)
    return True


def sweep(folder: Path) -> None:
    """Remove what ``discard`` has left in ``folder``."""
    for trash in folder.glob(f"{_TRASH}*"):
        shutil.rmtree(long_path(trash), ignore_errors=True)


def holds_trash(folder: Path) -> bool:
    return any(folder.glob(f"{_TRASH}*"))
