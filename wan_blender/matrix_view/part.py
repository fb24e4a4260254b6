# SPDX-License-Identifier: GPL-3.0-or-later
"""Which part of the canvas the model sees, and at which size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import bpy
import numpy as np

from ..host import properties
from ..host.state import host
from ..hygiene.bands import resize
from ..hygiene.blur import MAX_RADIUS
from ..masks import crop
from ..masks.crop import Xyxy

MOST_PIXELS = 4_000_000  # of the view and of the map: they are to follow the brush


@dataclass(frozen=True)
class CanvasPart:
    """``box`` (x0, y0, x1, y1) of a ``canvas`` (width, height) is shown at ``size`` (width,
    height)."""

    canvas: tuple[int, int]
    box: Xyxy
    size: tuple[int, int]

    @property
    def is_whole(self) -> bool:
        return self.box == (0, 0, *self.canvas)

    @property
    def map_size(self) -> tuple[int, int]:
        """(width, height) of a map of the canvas in which the part has its size."""
        scale = self.size[0] / (self.box[2] - self.box[0])
        most = math.sqrt(MOST_PIXELS / (self.canvas[0] * self.canvas[1]))
        return tuple(max(round(side * min(scale, most)), 1) for side in self.canvas)

    def inside(self, width: int, height: int) -> tuple[slice, slice]:
        """Where the part lies in a picture of the canvas of this size."""
        x, y = width / self.canvas[0], height / self.canvas[1]
        x0, y0, x1, y1 = (round(edge * s) for edge, s in zip(self.box, (x, y, x, y)))
        return slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1))

    def on_canvas(self, box: tuple[float, float, float, float]) -> tuple[float, ...]:
        """Edges x0, y0, x1, y1 in the view's pixels, as shares of the canvas' sides."""
        steps = [
            (high - low) / size for low, high, size in zip(self.box[:2], self.box[2:], self.size)
        ]
        corner, canvas = self.box[:2], self.canvas
        return tuple(
            (corner[i % 2] + edge * steps[i % 2]) / canvas[i % 2] for i, edge in enumerate(box)
        )


def cut(picture: np.ndarray, part: CanvasPart) -> np.ndarray:
    """The part of a picture (H, W, ...) of the canvas, in the picture's own pixels."""
    height, width = picture.shape[:2]
    return picture[part.inside(width, height)]


def radii_seen(shown: np.ndarray, part: CanvasPart) -> np.ndarray:
    """(H, W) radii in the part's pixels, of the map ``shown`` (h, w) there, in its own."""
    width, height = part.size
    per_pixel = width / shown.shape[1]
    if shown.shape != (height, width):
        shown = resize(shown[..., None], width, height)[..., 0]
    return (shown * (MAX_RADIUS * per_pixel)).clip(0, MAX_RADIUS)


def radii_added(values: np.ndarray, radius: np.ndarray, part: CanvasPart) -> np.ndarray:
    """The values of the map with radii (H, W) in the part's pixels, where it does not blur more
    already."""
    out = values.copy()
    shown = cut(out, part)
    height, width = shown.shape
    if radius.shape != (height, width):
        radius = resize(radius[..., None], width, height)[..., 0]
    np.maximum(shown, radius * (width / part.size[0] / MAX_RADIUS), out=shown)
    return out


def plan_part(
    scene: bpy.types.Scene, canvas: tuple[int, int], seen: crop.Crop | None = None
) -> CanvasPart:
    """What the model sees of the canvas: ``seen``, or all of it."""
    if seen is None:
        settings, sizes = properties.read(scene), host().library.sizes(scene.wan.model.path)
        seen = crop.plan_crop(1, canvas, (0, 0, *canvas), settings.region, sizes)
    width, height = seen.grid.width, seen.grid.height
    less = min(1.0, math.sqrt(MOST_PIXELS / (width * height)))
    box = seen.x, seen.y, seen.x + seen.width, seen.y + seen.height
    return CanvasPart(canvas, box, (max(round(width * less), 1), max(round(height * less), 1)))


class MaskWatch:
    """Waits for a look at the mask of one clip: what the model sees depends on it.

    ``seen`` is what the newest look found, None before one; ``error`` what kept it from looking.
    """

    def __init__(self, scene: bpy.types.Scene, plate: bpy.types.Strip) -> None:
        self._known = host().mask_view.preview
        self.seen: crop.Crop | None = host().mask_view.crop_of(scene, plate)
        self.needed = scene.wan.region.mode != "whole"
        self.error: Exception | None = None
        if self.needed and self.seen is None:
            self.error = host().mask_view.start_if_cheap(scene)

    @property
    def waits(self) -> bool:
        """Whether a look that will tell is under way."""
        return self.needed and self.seen is None and host().mask_view.busy

    def tick(self, scene: bpy.types.Scene, plate: bpy.types.Strip) -> bool:
        """Whether a newer look found something."""
        look = host().mask_view
        if not self.needed:
            return False
        if look.busy:
            look.tick()
        if look.busy or (look.scene, look.plate) != (scene.name, plate.name):
            return False
        self.error = look.error or (self.error if look.preview is self._known else None)
        if look.preview is None or look.preview is self._known:
            return False
        self._known, self.seen = look.preview, look.preview.crop
        return True
