# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder that a model's path means, and its JSON files for a quick look. No torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

BUNDLED = "nano/"  # how the name of a model begins that comes with the extension
NANO = Path(__file__).parents[1] / "engine" / "nano"
DEFAULT = "vace"  # of the bundled models


def is_bundled(path: str) -> bool:
    """Whether ``model.path`` means one of the models that come with the extension."""
    return not path or path.startswith(BUNDLED)


def find_folder(path: str) -> Path:
    """The folder that ``model.path`` means."""
    if is_bundled(path):
        return NANO / (path.removeprefix(BUNDLED) or DEFAULT)
    return Path(os.path.expanduser(path))


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object; {} for a file that is absent or holds none."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
