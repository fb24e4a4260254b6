# SPDX-License-Identifier: GPL-3.0-or-later
"""Start frames and blur maps from files, and what a job does about them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from ...core import job as jobs
from ...core.errors import WrongModel, from_os_error
from ...core.job_pictures import END, REFERENCES, START, pictures
from ...core.settings import Job
from ...hygiene.bands import resize, to_rgb
from ...hygiene.blur import MAX_RADIUS
from ...hygiene.maps import require_effect
from ...model_info.traits import KINDS
from ..frames import pictures as reader
from ..frames.files import digest
from ..frames.pictures import fill_size, read_colour
from ..frames.region import Region
from .treatment import Treatment

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", *reader.LINEAR)


def is_picture(path: Path) -> bool:
    """By its name; macOS leaves files whose names begin with a dot on other disks."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_picture(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W, 3) float32 in 0..1 of a picture as viewers show it.

    ``size`` is the generation size (width, height): the picture is cropped in the middle to its
    aspect and resized. Raises UnsupportedClip when there is no picture.
    """
    picture = to_rgb(reader.read_picture(path))
    return picture if size is None else fit(picture, *size)


def fit(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """(H, W, C) cropped in the middle to the aspect of ``width`` x ``height``, then resized."""
    rows, columns = picture.shape[:2]
    wanted_rows = min(rows, max(round(columns * height / width), 1))
    wanted_columns = min(columns, max(round(rows * width / height), 1))
    top, left = (rows - wanted_rows) // 2, (columns - wanted_columns) // 2
    cropped = picture[top : top + wanted_rows, left : left + wanted_columns]
    return resize(cropped, width, height)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """(H, W, 3) or (H, W) in 0..1 as 16-bit PNG."""
    values = np.round(picture.clip(0, 1) * 65535).astype(np.uint16)
    write_image(path, values[..., ::-1] if values.ndim == 3 else values)


def write_image(path: Path, image: np.ndarray) -> None:
    """An OpenCV image (BGR) as PNG, whatever the name. Raises DiskFull or UserError with the
    path."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    except OSError as error:
        raise from_os_error(error, f"writing {path.name}") from error


def read_gray(path: Path) -> np.ndarray:
    """(H, W) in 0..1 of a gray map. Raises UnsupportedClip."""
    return to_rgb(reader.read_values(path))[..., 0]


def write_radius(path: Path, radius: np.ndarray) -> None:
    write_picture(path, radius / MAX_RADIUS)


def read_treatment(folder: Path, job: Job, region: Region, kind: str) -> Treatment:
    """What the job in ``folder`` does about fine detail, on the part of the canvas that a model of
    ``kind`` sees.

    Raises InvalidJob when there is nothing that the mode would change, LengthMismatch for a map
    that follows other frames, WrongModel when the model is shown no picture.
    """
    mode = job.hygiene.mode
    if mode != "off" and not KINDS[kind].is_shown_pictures:
        raise WrongModel(
            f"hygiene.mode is {mode!r}, but a text-to-video model is shown no picture: nothing "
            "would change.",
            "Set the mode to 'off', or choose an image-to-video, VACE or 5B model.",
        )
    if not job.hygiene.uses_map:
        return Treatment(job.hygiene)
    maps = _find_maps(folder, job.shot.frame_count)
    names = (END, REFERENCES)
    others = any(pictures(folder, job.model_mask, name) for name in names)
    start = _read_start(folder, job, region)
    lack = f"{folder / jobs.RADIUS} is missing"
    require_effect(job, bool(maps) or start is not None, others, lack)
    size = job.shot.width, job.shot.height

    def read(path: Path) -> np.ndarray:
        """(H, W) on the canvas, radii in pixels of what the model sees."""
        gray, white = read_gray(path), job.hygiene.matte_blur_px
        if path.parent == folder:  # it counts pixels of its own
            white = MAX_RADIUS * (size[0] / gray.shape[1]) * (region.grid.width / region.width)
        return resize(gray[..., None], *size)[..., 0] * white

    @lru_cache(maxsize=2)
    def drawn(files: tuple[Path, ...]) -> np.ndarray:
        radius = np.maximum.reduce([read(path) for path in files])
        return region.crop_padded(radius).clip(0, MAX_RADIUS)

    by_frame = list(zip(*maps, strict=True))
    radius = (lambda index: drawn(by_frame[index])) if maps else None
    moves = len(set(by_frame)) > 1
    files = sorted({path for of_frame in by_frame for path in of_frame})
    files += [] if start is None else [folder / jobs.START_RADIUS]
    content = f"{digest(files)} {[path.name for of_frame in by_frame for path in of_frame]}"
    return Treatment(job.hygiene, radius, moves, job.sampling.seed, others, start, content)


def _read_start(folder: Path, job: Job, region: Region) -> np.ndarray | None:
    """Radii of the start picture's own map, fitted to what the model sees as the picture is; None
    without one."""
    path, files = folder / jobs.START_RADIUS, pictures(folder, job.model_mask, START)
    if not files or not path.is_file():
        return None
    gray, grid, shot = read_gray(path), region.grid, job.shot
    if read_colour(files[0]).shape[:2] == (shot.height, shot.width):
        scale = shot.width / gray.shape[1] * grid.width / region.width
        gray = region.crop_padded(resize(gray[..., None], shot.width, shot.height)[..., 0])
    else:
        size = grid.padded_width, grid.padded_height
        scale = max(size[0] / gray.shape[1], size[1] / gray.shape[0])
        gray = fill_size(gray, *size)
    return (gray * (MAX_RADIUS * scale)).clip(0, MAX_RADIUS)


def _find_maps(folder: Path, frames: int) -> list[list[Path]]:
    """The files of each blur map there is, one for each frame. Raises LengthMismatch."""
    painted, followed = folder / jobs.RADIUS, folder / jobs.BLUR_MATTE
    maps = [[painted] * frames] if painted.is_file() else []
    return maps + ([jobs.mask_files(followed, frames)] if followed.is_dir() else [])
