# SPDX-License-Identifier: GPL-3.0-or-later
"""Small pictures of the sinks, for the list."""

from __future__ import annotations

import bpy
import bpy.utils.previews
import numpy as np

from ..hygiene.bands import resize

SIZE = 96

_pictures: bpy.utils.previews.ImagePreviewCollection | None = None


def register() -> None:
    global _pictures
    _pictures = bpy.utils.previews.new()


def unregister() -> None:
    global _pictures
    bpy.utils.previews.remove(_pictures)
    _pictures = None


def clear() -> None:
    _pictures.clear()


def add(name: str, rgb: np.ndarray, box: tuple[int, int, int, int]) -> int:
    """The icon of the square around ``box`` (x, y, width, height) of ``rgb`` (H, W, 3), with a
    little of what surrounds it."""
    height, width = rgb.shape[:2]
    x, y, w, h = box
    side = min(round(1.25 * max(w, h)) + 4, height, width)
    left = int(np.clip(x + w // 2 - side // 2, 0, width - side))
    top = int(np.clip(y + h // 2 - side // 2, 0, height - side))
    picture = np.ones((SIZE, SIZE, 4), np.float32)
    part = np.ascontiguousarray(rgb[top : top + side, left : left + side])
    picture[..., :3] = resize(part, SIZE, SIZE)[::-1]
    preview = _pictures.new(name)
    preview.image_size = (SIZE, SIZE)
    preview.image_pixels_float.foreach_set(picture.ravel())
    return preview.icon_id
