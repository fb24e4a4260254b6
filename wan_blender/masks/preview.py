# SPDX-License-Identifier: GPL-3.0-or-later
"""From pixel masks to what is generated: the sampler's mask, and the picture of it that an editor
sees before running anything. numpy only: both sides share it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..core.mask_settings import Mask, RegionSettings
from ..model_info.traits import ModelSizes
from . import grid as latent_grid
from .crop import Crop, bounds, grown, plan_crop, union
from .gray import find_gray
from .grid import Grid
from .motion import widened
from .notes import mask_notes
from .reduce import reduce_space, reduce_time

BLACK, WHITE = 0.02, 0.975
Rect = tuple[float, float, float, float]  # x0, y0, x1, y1 in plate pixels, y down


def settled(mask: np.ndarray) -> np.ndarray:
    """The mask with a black that is nearly 0 and a white that is nearly 1 set to just that: lossy
    video has no exact ones."""
    return np.where(mask >= WHITE, 1, np.where(mask <= BLACK, 0, mask)).astype(np.float32)


def frame_cells(frames: Iterable[np.ndarray], crop: Crop, settings: Mask) -> np.ndarray:
    """Mask frames (H, W) of the canvas, in 0..1, one at a time -> cells (T, h, w) of each frame.
    Growth in time is of cells."""
    grid, rows, gray = crop.grid, [], find_gray(settings.gray)
    for frame in frames:
        seen = crop.mask_as_seen(gray.sampler(frame), settings.reduction, settings.grow_px)
        rows.append(reduce_space(seen[None], grid, settings.reduction)[0])
    return latent_grid.grow_time(np.stack(rows), settings.grow_before, settings.grow_after)


def latent_mask(cells: np.ndarray, crop: Crop, settings: Mask) -> np.ndarray:
    """The cells of each frame (T, h, w) -> (t, h, w) float32."""
    latent = reduce_time(cells, crop.grid, settings.reduction)
    if settings.token_snap:
        latent = latent_grid.snap_to_tokens(latent, crop.grid.patch)
    return latent.astype(np.float32)


@dataclass(frozen=True)
class MaskPreview:
    """``cells`` (t, h, w) is the latent mask; ``partly`` (t, h, w) marks the cells that the mask
    covers only in part of their pixels or frames; both without the cells that lie wholly off the
    canvas. ``frame_start`` is a timeline frame."""

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
    region: RegionSettings,
    sizes: ModelSizes,
) -> MaskPreview | None:
    """What a run would generate, from ``count`` mask frames: ``read(index)`` is (H, W) float32 in
    0..1. None when nothing is masked."""

    read = widened(read, count, mask.shutter)

    def frames() -> Iterator[np.ndarray]:
        return (settled(read(index)) for index in range(count))

    boxes = [bounds(frame) for frame in frames()]
    box = union(boxes)
    if box is None:
        return None
    height, width = read(0).shape
    canvas = width, height
    crop = plan_crop(count, canvas, grown(box, mask.grow_px, canvas) or box, region, sizes)
    of_frames = frame_cells(frames(), crop, mask)
    cells = latent_mask(of_frames, crop, mask)
    strays = latent_grid.stray_cells(of_frames, cells, crop.grid)
    rows, columns = (-(-side // sizes.cell) for side in (crop.grid.height, crop.grid.width))
    return MaskPreview(
        frame_start,
        canvas,
        crop,
        cells[:, :rows, :columns],
        _partly(crop, frames)[:, :rows, :columns],
        mask_notes(boxes, cells, strays, crop, mask, frame_start),
    )


def _partly(crop: Crop, frames: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    def cells(how: str) -> np.ndarray:
        settings = Mask(reduction=how)
        masked = ((frame > 0).astype(np.float32) for frame in frames())
        return latent_mask(frame_cells(masked, crop, settings), crop, settings)

    return (cells("max") > 0) & (cells("min") == 0)
