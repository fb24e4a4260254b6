# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder that a model's path means, and its JSON files for a quick look. No torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..core.errors import WeightsMissing
from ..core.files import read_json

DESCRIPTION = "wan_blender.json"  # says where the parts of a model folder are
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


def peek_object(path: Path) -> dict[str, Any]:
    """A JSON object for a quick look; {} for a file that is absent or holds none."""
    try:
        return read_object(path)
    except WeightsMissing:
        return {}


def read_object(path: Path, optional: bool = False) -> dict[str, Any]:
    """A JSON object. Raises WeightsMissing; an absent file is {} when ``optional``."""
    try:
        data = read_json(path, links=True)
    except FileNotFoundError as error:
        if optional:
            return {}
        raise WeightsMissing(
            f"{path} is missing.",
            "Choose a folder in diffusers layout (it holds model_index.json), or download the "
            "model again.",
        ) from error
    except (OSError, ValueError) as error:
        raise WeightsMissing(f"{path} cannot be read: {error}.", "Download it again.") from error
    if not isinstance(data, dict):
        raise WeightsMissing(f"{path} is not a JSON object.", "Download it again.")
    return data
