# SPDX-License-Identifier: GPL-3.0-or-later
"""Start frames and blur maps from files, and the faces in a picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ... import job as jobs
from ...errors import InvalidJob, UnsupportedClip, WrongModel, from_os_error
from ...hygiene.bands import resize, to_rgb
from ...hygiene.blur import MAX_RADIUS
from ...hygiene.sinks import Box
from ..region import Region
from .treatment import SOFT, Treatment

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".exr", ".hdr")


def read_picture(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W, 3) float32 in 0..1 from an image of 1 to 4 channels, 8 or 16 bit or float.

    ``size`` is the generation size (width, height): the picture is cropped in the middle to its
    aspect and resized. Raises UnsupportedClip when there is no picture.
    """
    picture = to_rgb(_decode(path))
    return picture if size is None else fit(picture, *size)


def fit(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """(H, W, C) cropped in the middle to the aspect of ``width`` x ``height``, then resized."""
    rows, columns = picture.shape[:2]
    wanted_rows = min(rows, max(round(columns * height / width), 1))
    wanted_columns = min(columns, max(round(rows * width / height), 1))
    top, left = (rows - wanted_rows) // 2, (columns - wanted_columns) // 2
    cropped = picture[top : top + wanted_rows, left : left + wanted_columns]
    return resize(cropped, width, height)


def _decode(path: Path) -> np.ndarray:
    """The file's pixels in RGB(A) or gray order, in its own type."""
    try:
        data = np.fromfile(path, np.uint8)  # OpenCV cannot open every path by name
    except FileNotFoundError as error:
        raise UnsupportedClip(
            f"There is no start frame at {path}.", "Export it again or choose another image."
        ) from error
    except OSError as error:
        raise from_os_error(error, "reading the start frame") from error
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None:
        raise UnsupportedClip(
            f"{path} is not an image that can be read ({data.size} bytes).",
            "Save it as PNG, JPEG, TIFF or EXR.",
        )
    if image.ndim == 3 and image.shape[2] >= 3:
        image = image[..., [2, 1, 0, *range(3, image.shape[2])]]
    return image


def write_picture(path: Path, picture: np.ndarray) -> None:
    """(H, W, 3) or (H, W) in 0..1 as 16-bit PNG."""
    values = np.round(picture.clip(0, 1) * 65535).astype(np.uint16)
    write_image(path, values[..., ::-1] if values.ndim == 3 else values)


def write_image(path: Path, image: np.ndarray) -> None:
    """An OpenCV image (BGR) as PNG. Raises DiskFull or UserError with the path."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    except OSError as error:
        raise from_os_error(error, f"writing {path.name}") from error


def read_radius(path: Path, width: int, height: int) -> np.ndarray | None:
    """(height, width) blur radii in pixels from a gray map, white = MAX_RADIUS; None: no map."""
    if not path.is_file():
        return None
    gray = to_rgb(_decode(path))[..., :1]
    return resize(gray, width, height)[..., 0] * MAX_RADIUS


def write_radius(path: Path, radius: np.ndarray) -> None:
    write_picture(path, radius / MAX_RADIUS)


def read_treatment(folder: Path, job: jobs.Job, region: Region, kind: str) -> Treatment:
    """What the job in ``folder`` does about fine detail, on the part of the canvas that a model of
    ``kind`` sees.

    Raises InvalidJob when the mode asks for a blur map and the folder has none, WrongModel when
    the model is shown no picture that could be treated.
    """
    mode = job.hygiene.mode
    if mode != "off" and kind == "t2v":
        raise WrongModel(
            f"hygiene.mode is {mode!r}, but a text-to-video model is shown no picture: nothing "
            "would change.",
            "Set the mode to 'off', or choose an image-to-video, VACE or 5B model.",
        )
    if mode not in SOFT:
        return Treatment(job.hygiene)
    radius = read_radius(folder / jobs.RADIUS, job.shot.width, job.shot.height)
    if radius is None and mode == "soft":
        raise InvalidJob(
            f"hygiene.mode is 'soft', and {folder / jobs.RADIUS} is missing.",
            "Tick sinks or paint a blur map, or set the mode to 'off' or 'scheduled'.",
        )
    if radius is not None:
        radius = region.crop_padded(radius).clip(0, MAX_RADIUS)
    return Treatment(job.hygiene, radius)


def find_faces(picture: np.ndarray) -> list[Box]:
    """Boxes of faces by OpenCV's own cascades (Viola and Jones 2001); (H, W, 3) in 0..1.

    Upright faces from the front and from both sides, from a sixteenth of the picture's smaller side
    on and at least 24 pixels. It misses tilted, turned away, covered, drawn and smaller ones, and
    now and then takes something else for a face. Eyes and mouths are found as parts of a face.
    """
    gray = cv2.cvtColor((picture * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    smallest = max(min(gray.shape) // 16, 24)

    def detect(name: str, plane: np.ndarray) -> list[Box]:
        cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / name))
        found = cascade.detectMultiScale(plane, 1.1, 6, minSize=(smallest, smallest))
        return [tuple(int(v) for v in box) for box in found]

    front = detect("haarcascade_frontalface_default.xml", gray)
    left = detect("haarcascade_profileface.xml", gray)
    right = detect("haarcascade_profileface.xml", np.ascontiguousarray(gray[:, ::-1]))
    mirrored = [(gray.shape[1] - x - width, y, width, height) for x, y, width, height in right]
    return front + left + mirrored
