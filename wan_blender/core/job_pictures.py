# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures that a job is given beside its clip: start, end, references."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from .errors import InvalidJob, from_os_error
from .mask_settings import ModelMask
from .settings import Job

START, END, REFERENCES = "start_image", "end_image", "references"  # settings that name pictures

PICTURES = {START: "start.png", END: "end.png", REFERENCES: "references"}  # where none is named

FORMATS = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".exr", ".hdr"}


def pictures(folder: Path, settings: ModelMask, name: str) -> list[Path]:
    """The files in the job ``folder`` that the setting ``name`` (START, END or REFERENCES) gives,
    in order of their names; where it is empty, those in the usual place. Raises InvalidJob when a
    picture is named that is not there, or lies outside: a job that came from elsewhere could read
    what is not its own."""
    given = Path(getattr(settings, name))
    if given.is_absolute() or given.drive or ".." in given.parts:
        raise InvalidJob(
            f"model_mask.{name} is {str(given)!r}, which lies outside the job folder.",
            "Copy the picture into the folder and name it there, or export the shot again.",
        )
    return _find(folder, settings, name)


def _find(folder: Path, settings: ModelMask, name: str) -> list[Path]:
    given = getattr(settings, name)
    path = folder / (given or PICTURES[name])
    files = [path] if path.is_file() else []
    if path.is_dir() and name == REFERENCES:
        files = sorted(p for p in path.iterdir() if _is_picture(p))
    if given and not files:
        raise InvalidJob(
            f"model_mask.{name} is {str(path)!r}; there is no picture.",
            "Choose another file, or leave it empty.",
        )
    return files


def _is_picture(path: Path) -> bool:
    """By its name; macOS leaves files whose names begin with a dot on other disks."""
    return path.suffix.lower() in FORMATS and not path.name.startswith(".")


def take_pictures(folder: Path, job: Job) -> Job:
    """Copy the pictures that ``job`` names into its folder; the job with the names of the copies.
    Raises InvalidJob for one that is not there, DiskFull."""
    taken: dict[str, Any] = {}
    for name, usual in PICTURES.items():
        if not getattr(job.model_mask, name):
            continue
        taken[name] = usual
        try:
            for number, file in enumerate(_find(Path.cwd(), job.model_mask, name)):
                place = folder / usual / f"{number:03d}{file.suffix}"
                if name != REFERENCES:
                    taken[name] = Path(usual).stem + file.suffix
                    place = folder / taken[name]
                place.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, place)
        except OSError as error:
            raise from_os_error(error, "copying pictures into the job") from error
    return replace(job, model_mask=replace(job.model_mask, **taken))


def locate_pictures(folder: Path, job: Job) -> Job:
    """``job`` with the full paths of the pictures in its folder: what another job can take."""
    named = {name: getattr(job.model_mask, name) for name in PICTURES}
    found: dict[str, Any] = {name: str(folder / path) for name, path in named.items() if path}
    return replace(job, model_mask=replace(job.model_mask, **found))
