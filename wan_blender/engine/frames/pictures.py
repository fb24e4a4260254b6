# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures given beside the clip (start, end, references): read, and fitted to the model's size.

Pictures at the model's size are (H, W, 3) in [-1, 1]. No torch: hygiene is asked in short calls.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from .files import read_png, to_mask


def read_colour(path: Path) -> np.ndarray:
    """(H, W, 3) of a PNG in its own integer type; transparent parts are white."""
    picture = read_png(path)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, 2)
    if picture.shape[2] == 4:
        alpha = to_mask(picture[..., 3])[..., None]
        white = np.iinfo(picture.dtype).max
        picture = (picture[..., :3] * alpha + white * (1 - alpha)).astype(picture.dtype)
    return picture


def fill_size(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scaled to cover width x height, the surplus cut off evenly."""
    scale = max(width / picture.shape[1], height / picture.shape[0])
    w, h = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    big = _resize(picture, max(w, width), max(h, height))
    x, y = (big.shape[1] - width) // 2, (big.shape[0] - height) // 2
    return big[y : y + height, x : x + width]


def scale_inside(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """The whole of it, scaled to fit into width x height."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    return _resize(picture, round(picture.shape[1] * scale), round(picture.shape[0] * scale))


def on_white(small: np.ndarray, width: int, height: int) -> np.ndarray:
    """Centred on white, as VACE was trained."""
    canvas = np.ones((height, width, 3), np.float32)
    y, x = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
    return canvas


def _resize(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    method = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_CUBIC
    return np.clip(
        cv2.resize(picture, (max(width, 1), max(height, 1)), interpolation=method), -1, 1
    )
