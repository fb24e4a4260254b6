# SPDX-License-Identifier: GPL-3.0-or-later
"""Two rules of hygiene that Blender holds before the export and the engine before the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..core.errors import InvalidJob
from ..core.settings import Job


def require_effect(settings: Job, has_radii: bool, has_pictures: bool, lack: str) -> None:
    """Raise InvalidJob where hygiene would change nothing: its mode needs to be told where to
    blur, but no map or matte tells it, and there is no end picture or reference, which are treated
    by measure. ``lack`` says what is missing."""
    if settings.hygiene.needs_map and not has_radii and not has_pictures:
        raise InvalidJob(
            f"Hygiene ({settings.hygiene.mode!r}) would change nothing: {lack}, and the job has no "
            "end frame or references.",
            "Tick sinks or paint in the matrix view, choose a matte, low-pass the whole picture by "
            "the schedule, or set the mode to 'off'.",
        )


def without_hygiene(settings: Job) -> Job:
    """The same settings with hygiene off, for the take to compare with. Raises InvalidJob when it
    is off anyway."""
    if settings.hygiene.mode == "off":
        raise InvalidJob(
            "hygiene.mode is 'off', so both takes would be the same.",
            "Choose 'soft', 'scheduled' or 'both'.",
        )
    return replace(settings, hygiene=replace(settings.hygiene, mode="off"))


def folder_without(folder: Path) -> Path:
    """Where the take without hygiene of the job in ``folder`` is: beside it."""
    return folder.with_name(f"{folder.name}-without")
