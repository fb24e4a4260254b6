# SPDX-License-Identifier: GPL-3.0-or-later
"""Where ComfyUI keeps its models: in its own folder, and where its configuration says besides."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from ....core.files import read_bytes

_BYTES = 1 << 20  # of a configuration
_CONFIGURATION = "extra_model_paths.yaml"
_OF_DESKTOP = "extra_models_config.yaml"
_NO_MODELS = ("base_path", "is_default", "custom_nodes")  # keys of a section


def comfyui_folders(named: Iterable[Path] = ()) -> list[Path]:
    """The model folders of ComfyUI where its installers put it and where COMFYUI_PATH says, and
    those that its configuration adds, also that of a ComfyUI among ``named`` folders."""
    homes = [Path.home() / "ComfyUI", Path.home() / "Documents" / "ComfyUI"]
    if chosen := os.environ.get("COMFYUI_PATH"):
        homes.insert(0, Path(chosen).expanduser())
    folders = [home / "models" for home in homes]
    beside = [home for place in named for home in (place, place.parent)]
    for file in [*(home / _CONFIGURATION for home in (*homes, *beside)), _desktop() / _OF_DESKTOP]:
        folders += _read_configuration(file)
    return [folder for folder in dict.fromkeys(folders) if os.path.isdir(folder)]


def _desktop() -> Path:
    """Where ComfyUI Desktop keeps its settings."""
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home()) / "ComfyUI"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "ComfyUI"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "ComfyUI"


def _read_configuration(file: Path) -> Iterator[Path]:
    """The folders it names, as ComfyUI takes them: one a line, relative to their section's
    base_path, that relative to the file. Nothing for a file that ComfyUI could not read either."""
    try:
        sections = yaml.safe_load(read_bytes(file, _BYTES, links=True).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return
    for section in sections.values() if isinstance(sections, dict) else ():
        if not isinstance(section, dict):
            continue
        base = section.get("base_path") or ""
        base = os.path.expandvars(os.path.expanduser(base)) if isinstance(base, str) else ""
        for key, lines in section.items():
            if key not in _NO_MODELS and isinstance(lines, str):
                named = map(str.strip, lines.splitlines())
                yield from (file.parent / base / line for line in named if line)
