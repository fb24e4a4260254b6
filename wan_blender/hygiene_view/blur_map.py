# SPDX-License-Identifier: GPL-3.0-or-later
"""The blur map of a clip: an image named after it, saved in the .blend, written into its jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np

from .. import job
from ..errors import InvalidJob, from_os_error
from ..timeline import png

MAP_PREFIX = "Wan Blur Map: "


def find_map(plate: str) -> bpy.types.Image | None:
    """The blur map of the strip ``plate``."""
    return bpy.data.images.get(MAP_PREFIX + plate)


def require_map(hygiene: job.Hygiene, plate: str) -> None:
    """Before anything is exported: mode "soft" needs a map that blurs, or a matte to follow. Raises
    InvalidJob."""
    if hygiene.mode == "soft" and not hygiene.matte and not _blurs(_read(plate)):
        raise InvalidJob(
            f"Hygiene is 'soft', but nothing is painted on the blur map of {plate!r}.",
            "Open its matrix view and treat what glows, choose a matte, or another mode.",
        )


def without_hygiene(settings: job.Job) -> job.Job:
    """The same settings with hygiene off, for the take to compare with. Raises InvalidJob when it
    is off anyway."""
    if settings.hygiene.mode == "off":
        raise InvalidJob(
            "Hygiene is off, so both takes would be the same.",
            "Choose what the model is to see under Mode.",
        )
    return replace(settings, hygiene=replace(settings.hygiene, mode="off"))


def save_map(folder: Path, plate: str) -> None:
    """Write the blur map of the strip ``plate`` into a job folder, if it has one that blurs.

    Raises DiskFull.
    """
    values = _read(plate)
    if not _blurs(values):
        return
    try:
        png.write_gray16(folder / job.RADIUS, values)
    except OSError as error:
        raise from_os_error(error, "writing the blur map") from error


def _blurs(values: np.ndarray | None) -> bool:
    return values is not None and bool((values > 0).any())


def _read(plate: str) -> np.ndarray | None:
    """(H, W), top row first, 1 = hygiene.blur.MAX_RADIUS; None without a map."""
    image = find_map(plate)
    if image is None or not all(image.size):
        return None
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    return pixels.reshape(height, width, 4)[::-1, :, 0]
