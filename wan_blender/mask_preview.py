# SPDX-License-Identifier: GPL-3.0-or-later
"""From pixel masks to what is generated: the sampler's mask, and the picture of it that an editor
sees before running anything. numpy only: both sides share it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from . import latent_grid
from .crop import Crop, ModelSizes, bounds, plan_crop, union
from .job import Mask, Region
from .latent_grid import Grid
from .mask_notes import mask_notes

Rect = tuple[float, float, float, float]  # x0, y0, x1, y1 in plate pixels, y down


def latent_mask(shown: Iterable[np.ndarray], grid: Grid, settings: Mask) -> np.ndarray:
    """Mask frames (H, W) as the model sees them, in 0..1, one at a time -> (t, h, w) float32."""
    rows = []
    for frame in shown:
        grown = latent_grid.grow_space(frame[None], settings.grow_px)
        rows.append(latent_grid.reduce_space(grown, grid, settings.reduction)[0])
    cells = latent_grid.grow_time(np.stack(rows), settings.grow_before, settings.grow_after)
    latent = latent_grid.reduce_time(cells, grid, settings.reduction)
    if settings.token_snap:
        latent = latent_grid.snap_to_tokens(latent, grid.patch)
    return latent.astype(np.float32)


@dataclass(frozen=True)
class MaskPreview:
    """``cells`` (t, h, w) is the latent mask; ``partly`` (t, h, w) marks the cells that the mask
    covers only in part of their pixels or frames. ``frame_start`` is a timeline frame."""

    frame_start: int
    canvas: tuple[int, int]  # width, height
    crop: Crop
    cells: np.ndarray
    partly: np.ndarray
    notes: list[str]

    def group(self, frame: int) -> int | None:
        """The latent that holds timeline frame ``frame``; None outside the shot."""
        index = frame - self.frame_start
        if not 0 <= index < self.crop.grid.frames:
            return None
        return latent_grid.group_of_frame(index, self.crop.grid.group)

    def generated(self, frame: int) -> list[tuple[Rect, float, bool]]:
        """(cell on the canvas, value in 0..1, whether the mask covers only part of it) for each
        cell that is generated in the group of timeline frame ``frame``."""
        group = self.group(frame)
        if group is None:
            return []
        values, partly = self.cells[group], self.partly[group]
        found = zip(*np.nonzero(values), strict=True)
        return [(self._rect(y, x), float(values[y, x]), bool(partly[y, x])) for y, x in found]

    def counts(self, frame: int) -> tuple[int, int]:
        """How many cells ``generated`` gives, and how many of them are masked in part."""
        group = self.group(frame)
        if group is None:
            return 0, 0
        found = self.cells[group] > 0
        return int(found.sum()), int((found & self.partly[group]).sum())

    def _rect(self, row: int, column: int) -> Rect:
        crop, grid = self.crop, self.crop.grid
        x, y = crop.width / grid.width, crop.height / grid.height
        return (
            crop.x + column * grid.cell * x,
            crop.y + row * grid.cell * y,
            crop.x + min((column + 1) * grid.cell, grid.width) * x,
            crop.y + min((row + 1) * grid.cell, grid.height) * y,
        )

    def save(self, path: Path) -> None:
        described = {
            "frame_start": self.frame_start,
            "canvas": self.canvas,
            "crop": asdict(self.crop),
            "notes": self.notes,
        }
        np.savez(path, cells=self.cells, partly=self.partly, described=json.dumps(described))

    @classmethod
    def load(cls, path: Path) -> MaskPreview:
        with np.load(path, allow_pickle=False) as data:
            described = json.loads(str(data["described"]))
            crop = described["crop"]
            grid = Grid(**crop.pop("grid"))
            return cls(
                described["frame_start"],
                tuple(described["canvas"]),
                Crop(**crop, grid=grid),
                data["cells"],
                data["partly"],
                described["notes"],
            )


def make_preview(
    frame_start: int,
    count: int,
    read: Callable[[int], np.ndarray],
    mask: Mask,
    region: Region,
    sizes: ModelSizes,
) -> MaskPreview | None:
    """What a run would generate, from ``count`` mask frames: ``read(index)`` is (H, W) float32 in
    0..1. None when nothing is masked."""
    boxes = [bounds(read(index)) for index in range(count)]
    box = union(boxes)
    if box is None:
        return None
    height, width = read(0).shape
    crop = plan_crop(count, (width, height), box, region, sizes)
    shown = (np.clip(crop.scaled(read(index)), 0, 1) for index in range(count))
    cells = latent_mask(shown, crop.grid, mask)
    return MaskPreview(
        frame_start,
        (width, height),
        crop,
        cells,
        _partly(crop, read, count),
        mask_notes(crop.as_seen(boxes), cells, crop.grid),
    )


def _partly(crop: Crop, read: Callable[[int], np.ndarray], count: int) -> np.ndarray:
    some, all_ = [], []
    for index in range(count):
        covered = (crop.scaled(read(index)) > 0).astype(np.float32)[None]
        some.append(latent_grid.reduce_space(covered, crop.grid, "max")[0])
        all_.append(latent_grid.reduce_space(covered, crop.grid, "min")[0])
    most = latent_grid.reduce_time(np.stack(some), crop.grid, "max")
    least = latent_grid.reduce_time(np.stack(all_), crop.grid, "min")
    return (most > 0) & (least == 0)
