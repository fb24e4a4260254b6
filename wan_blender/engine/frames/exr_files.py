# SPDX-License-Identifier: GPL-3.0-or-later
"""EXR files <-> float32 arrays of sRGB values, see light/tone.py, from which each half float comes
back as it was. Alpha is straight in the arrays; in the files colours are multiplied by it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ...core.errors import InvalidJob, from_os_error
from ...core.files import open_file, read_bytes
from ...light import exr
from ...light.tone import HALF_MAX, decode_srgb, encode_srgb

PICTURE_BYTES = 4 << 30
AGAIN = "Export the shot again."


def measure_exr(path: Path) -> tuple[int, int, int]:
    """Width, height and bits per channel, from the header. Raises InvalidJob for other files and
    for one that is cut short."""
    try:
        with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
            layout = exr.parse(file.read(exr.HEADER_LIMIT))
            whole = exr.ends(file, layout)
    except OSError as error:
        raise from_os_error(error, "reading a frame") from error
    except ValueError as error:
        raise InvalidJob(f"{path} is {error}.", AGAIN) from error
    if not whole:
        raise InvalidJob(f"{path} is cut short: it has {path.stat().st_size} bytes.", AGAIN)
    _check_channels(path, layout.names)
    return layout.width, layout.height, 8 * layout.dtype.itemsize


def read_exr(path: Path) -> np.ndarray:
    """(H, W, 3) or (H, W, 4), finite. Raises InvalidJob."""
    try:
        channels = exr.decode(read_bytes(path, PICTURE_BYTES, links=True))
    except OSError as error:
        raise from_os_error(error, "reading a frame") from error
    except ValueError as error:
        raise InvalidJob(f"{path} is {error}.", AGAIN) from error
    _check_channels(path, list(channels))
    light = _finite(np.dstack([channels[name] for name in "RGB"]))
    if "A" not in channels:
        return encode_srgb(light)
    alpha = _finite(channels["A"])[..., None]
    return np.dstack([encode_srgb(light / np.where(alpha > 0, alpha, 1)), alpha])


def _check_channels(path: Path, names: list[str]) -> None:
    if not {"R", "G", "B"} <= set(names):
        raise InvalidJob(
            f"{path} has the channels {', '.join(names)}; a frame has R, G, B and may have A.",
            AGAIN,
        )


def _finite(light: np.ndarray) -> np.ndarray:
    return np.nan_to_num(light.astype(np.float32), nan=0.0, posinf=HALF_MAX, neginf=-HALF_MAX)


def write_exr(path: Path, frame: np.ndarray) -> None:
    """What ``read_exr`` reads. Raises DiskFull."""
    light, channels = decode_srgb(frame[..., :3]), "RGB"
    if frame.shape[2] == 4:
        alpha = frame[..., 3:]
        light = np.dstack([light * np.where(alpha > 0, alpha, 1), alpha])
        channels = "RGBA"
    planes = np.moveaxis(light.clip(-HALF_MAX, HALF_MAX), 2, 0)
    try:
        exr.write(path, dict(zip(channels, planes, strict=True)))
    except OSError as error:
        raise from_os_error(error, "writing frames") from error
