# SPDX-License-Identifier: GPL-3.0-or-later
"""Which part of the canvas the model sees, and how its pixels come back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ...core.mask_settings import RegionSettings
from ...masks.crop import Crop, plan_crop
from ...masks.grid import Grid, pad_to_tokens
from ...model_info.traits import ModelSizes, Traits


@dataclass(frozen=True)
class Region(Crop):
    """The crop with its pixels: plate to model and back."""

    def crop(self, frame: np.ndarray) -> np.ndarray:
        """Float picture of the canvas (H, W, C) -> the box at the grid's size, not yet padded."""
        return self.fit(frame[self.window])

    def fit(self, box: np.ndarray) -> np.ndarray:
        """The box in plate pixels -> at the grid's size."""
        if box.shape[:2] == (self.grid.height, self.grid.width):
            return box
        shrinks = self.grid.width < self.width
        method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        return cv2.resize(box, (self.grid.width, self.grid.height), interpolation=method)

    def crop_padded(self, frame: np.ndarray) -> np.ndarray:
        """As ``crop``, padded with its own edge pixels to the model's size."""
        return pad_to_tokens(self.crop(frame), self.grid)

    def restore(self, frame: np.ndarray) -> np.ndarray:
        """The model's padded frame -> the box in plate pixels (height, width[, C])."""
        frame = frame[: self.grid.height, : self.grid.width]
        if frame.shape[:2] == (self.height, self.width):
            return frame
        return cv2.resize(frame, (self.width, self.height), interpolation=cv2.INTER_CUBIC)

    def restore_cells(self, cells: np.ndarray) -> np.ndarray:
        """As ``restore`` for a footprint (H, W): any plate pixel that touches a cell has it."""
        if cells.shape == (self.height, self.width):
            return cells
        ys = np.arange(self.height) * cells.shape[0] // self.height
        xs = np.arange(self.width) * cells.shape[1] // self.width
        return cells[ys][:, xs]

    def part(self, box: tuple[int, int, int, int]) -> tuple[slice, slice]:
        """Index in a canvas frame of the latent cells y0, y1, x0, x1."""
        spans = zip(box[::2], box[1::2], (self.height, self.width), (self.y, self.x))
        sizes = (self.grid.height, self.grid.width)
        return tuple(
            slice(
                offset + math.ceil(low * self.grid.cell * size / shown),
                offset + min(int(high * self.grid.cell * size / shown), size),
            )
            for (low, high, size, offset), shown in zip(spans, sizes)
        )

    @property
    def window(self) -> tuple[slice, slice]:
        """Index of the box in a canvas frame."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


def whole_frame(frames: int, height: int, width: int, cell: int = 8, patch: int = 2) -> Region:
    return Region(0, 0, width, height, Grid(frames, height, width, cell, patch))


def plan_region(
    frames: int,
    canvas: tuple[int, int],
    mask_box: tuple[int, int, int, int],
    settings: RegionSettings,
    traits: Traits,
) -> Region:
    """``plan_crop`` for a model."""
    sizes = ModelSizes(traits.cell, traits.patch, traits.native_pixels)
    crop = plan_crop(frames, canvas, mask_box, settings, sizes)
    return Region(crop.x, crop.y, crop.width, crop.height, crop.grid)
