# SPDX-License-Identifier: GPL-3.0-or-later
"""Which part of the canvas the model sees. numpy only: the overlay shows what the engine takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.mask_settings import RegionSettings
from ..model_info.traits import ModelSizes
from .grid import Grid, grow_space
from .reduce import find_reducer

Xyxy = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels

WORTH_CROPPING = 0.7  # a box above this share of the canvas saves too little to lose context
LEAST_SEEN = 0.25  # of the model's own pixels: no model was trained on less


@dataclass(frozen=True)
class Crop:
    """A box of the canvas (``x``, ``y``, ``width``, ``height`` in plate pixels), shown to the
    model at the grid's size and padded below and right to whole tokens."""

    x: int
    y: int
    width: int
    height: int
    grid: Grid

    def as_seen(self, boxes: Sequence[Xyxy | None]) -> list[Xyxy | None]:
        """Boxes on the canvas in the pixels the model sees."""
        x, y = self.grid.width / self.width, self.grid.height / self.height
        return [
            box
            and (
                round((box[0] - self.x) * x),
                round((box[1] - self.y) * y),
                round((box[2] - self.x) * x),
                round((box[3] - self.y) * y),
            )
            for box in boxes
        ]

    def mask_as_seen(
        self, mask: np.ndarray, reduction: str = "max", grow_px: int = 0
    ) -> np.ndarray:
        """A mask of the canvas (H, W) -> the box at the grid's size, in 0..1.

        ``grow_px`` counts plate pixels. The reduction says how the mask is scaled: with "max" a
        thin mask is as strong at a smaller size. Raises InvalidJob for an unknown one.
        """
        box = self._grown_box(mask, grow_px)
        grid = self.grid
        if box.shape == (grid.height, grid.width):
            return box
        return find_reducer(reduction).scale(box, (grid.height, grid.width))

    def _grown_box(self, mask: np.ndarray, grow_px: int) -> np.ndarray:
        """The box of the grown mask; no more of the canvas is read than the growth reaches."""
        reach = abs(grow_px)
        top, left = max(self.y - reach, 0), max(self.x - reach, 0)
        part = mask[top : self.y + self.height + reach, left : self.x + self.width + reach]
        part = grow_space(part[None], grow_px)[0]
        return part[self.y - top :, self.x - left :][: self.height, : self.width]


def bounds(mask: np.ndarray) -> Xyxy | None:
    """The box around what is not 0 in (H, W); None when all is."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1) if len(ys) else None


def grown(box: Xyxy | None, pixels: int, canvas: tuple[int, int]) -> Xyxy | None:
    """The box of the mask once it is grown by ``pixels``; shrinking is not followed."""
    if box is None or pixels <= 0:
        return box
    x0, y0, x1, y1 = box
    width, height = canvas
    return (
        max(0, x0 - pixels),
        max(0, y0 - pixels),
        min(width, x1 + pixels),
        min(height, y1 + pixels),
    )


def union(boxes: Sequence[Xyxy | None]) -> Xyxy | None:
    """The box around all boxes; None when there is none."""
    found = np.array([box for box in boxes if box])
    return (*found[:, :2].min(0).tolist(), *found[:, 2:].max(0).tolist()) if len(found) else None


def plan_crop(
    frames: int,
    canvas: tuple[int, int],
    mask_box: Xyxy,
    settings: RegionSettings,
    sizes: ModelSizes,
) -> Crop:
    """The crop of a shot: ``canvas`` is (width, height), ``mask_box`` x0, y0, x1, y1 over all
    frames, so that the box stands still through the shot.

    A small mask is given more surroundings, until the model sees LEAST_SEEN of what it knows. A
    box that would cover most of the canvas is the canvas. Larger than the model's own size, it is
    scaled down to it; smaller, it is only enlarged when ``settings.pixels`` asks for that.
    """
    width, height = canvas
    token = sizes.cell * sizes.patch
    if settings.mode == "whole":
        box = (0, 0, width, height)
    else:
        least = LEAST_SEEN * sizes.native_pixels
        box = _with_context(mask_box, canvas, settings.context, token, least)
    x0, y0, x1, y1 = box
    w, h = x1 - x0, y1 - y0
    wanted = settings.pixels or min(w * h, sizes.native_pixels)
    scale = math.sqrt(wanted / (w * h))
    if settings.mode == "whole" and not settings.pixels:
        scale = 1.0
    fits = abs(scale - 1) < 0.02 and not settings.pixels
    shown = (w, h) if fits else _scaled(w, h, scale, token)
    return Crop(x0, y0, w, h, Grid(frames, shown[1], shown[0], sizes.cell, sizes.patch))


def _with_context(
    mask_box: Xyxy, canvas: tuple[int, int], context: float, token: int, least: float
) -> Xyxy:
    """The mask's box with its surroundings, of ``least`` pixels or more, in whole tokens where the
    canvas allows; the whole canvas when little would be saved."""
    for more in range(0, max(canvas) + token, token):
        edges = []
        for low, high, size in zip(mask_box[:2], mask_box[2:], canvas, strict=True):
            margin = max(context * (high - low), 2 * token) + more
            start = max(0, int(low - margin)) // token * token
            stop = min(size, math.ceil((high + margin - start) / token) * token + start)
            edges.append((start, stop))
        (x0, x1), (y0, y1) = edges
        if (x1 - x0) * (y1 - y0) >= least:
            break
    if (x1 - x0) * (y1 - y0) > WORTH_CROPPING * canvas[0] * canvas[1]:
        return 0, 0, *canvas
    return x0, y0, x1, y1


def _scaled(width: int, height: int, scale: float, token: int) -> tuple[int, int]:
    wide, high = (max(token, round(side * scale / token) * token) for side in (width, height))
    return wide, high
