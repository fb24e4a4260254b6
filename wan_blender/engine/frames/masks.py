# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's pixel mask and what is derived from it.

    latent mask      for the sampler: which cells are generated, how much     (plan_masks)
    composite matte  for the pixels: what the patch covers, feathered inward  (matte)

Model masks (what a model was trained to see) are made by conditioning/, one file per layout. The
mask is read frame by frame, so a long clip at any size needs little memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...core.errors import EmptyMask
from ...core.mask_settings import Mask, Output
from ...masks.crop import bounds, union
from ...masks.grid import stray_cells
from ...masks.preview import frame_cells, latent_mask
from .files import ShotFrames
from .region import Region


@dataclass(frozen=True)
class MaskExtent:
    """Where the mask is: ``box`` x0, y0, x1, y1 in plate pixels over all frames, ``coverage`` the
    share of masked pixels, ``boxes`` the box of each frame or None."""

    box: tuple[int, int, int, int]
    coverage: float
    boxes: tuple[tuple[int, int, int, int] | None, ...]


@dataclass(frozen=True)
class MaskPlan:
    """``latent`` (t, h, w) float32; ``cells`` is the share of latent cells that are generated;
    ``strays`` (T,) is ``latent_grid.stray_cells`` of each frame."""

    extent: MaskExtent
    latent: np.ndarray
    cells: float
    strays: np.ndarray


def measure_mask(shot: ShotFrames) -> MaskExtent:
    """Read the mask once. Raises EmptyMask."""
    boxes, coverage = [], 0.0
    for index in range(len(shot)):
        mask = shot.mask(index)
        boxes.append(bounds(mask))
        coverage += float(mask.mean())
    box = union(boxes)
    if box is None:
        raise EmptyMask(
            f"The mask is empty on all {len(shot)} frames, so there is nothing to generate.",
            "Paint or keyframe the mask inside the plate's frames, or pick another matte.",
        )
    return MaskExtent(box, coverage / len(shot), tuple(boxes))


def plan_masks(shot: ShotFrames, extent: MaskExtent, region: Region, settings: Mask) -> MaskPlan:
    """Reduce the mask to the region's grid. Raises EmptyMask when nothing is left of it."""
    of_frames = frame_cells(map(shot.mask, range(len(shot))), region, settings)
    latent = latent_mask(of_frames, region, settings)
    if not latent.any():
        masked = sum(box is not None for box in extent.boxes)
        raise EmptyMask(
            f"The mask has {masked} frames, but no latent cell is left of it by reduction "
            f"{settings.reduction!r} and grow_px {settings.grow_px}.",
            'Use reduction "max", or shrink the mask less.',
        )
    strays = stray_cells(of_frames, latent, region.grid)
    return MaskPlan(extent, latent, float((latent > 0).mean()), strays)


def matte(mask: np.ndarray, cells: np.ndarray, settings: Output) -> np.ndarray:
    """Composite matte (H, W) of one frame, 0..1. ``cells`` is the footprint of the frame's
    latent mask at plate size. The feather lies inside: no pixel outside is ever covered."""
    alpha = {"mask": mask, "solid": mask > 0, "footprint": cells > 0}[settings.matte]
    alpha = alpha.astype(np.float32)
    box = bounds(alpha)
    if settings.feather_px > 0 and box:
        x0, y0, x1, y1 = (max(box[0] - 1, 0), max(box[1] - 1, 0), box[2] + 1, box[3] + 1)
        part = alpha[y0:y1, x0:x1]
        part *= feather(part > 0, settings.feather_px)
    return alpha


def feather(inside: np.ndarray, pixels: float) -> np.ndarray:
    """Factor (H, W) in 0..1 that rises from the edge of ``inside`` to 1 over ``pixels``; where
    ``inside`` is thinner than that, to its middle, so that a thin mask is covered still. The
    picture's edge does not count as one."""
    if inside.all():
        return np.ones(inside.shape, np.float32)
    padded = np.pad(inside.astype(np.uint8), 1, mode="edge")
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    room, radius = depth.copy(), pixels + 1
    while radius > 1:  # room: radius of a disc that fits in and reaches, up to pixels + 1
        disc = depth >= radius
        if disc.any():
            away = cv2.distanceTransform((~disc).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
            reached = away <= np.sqrt(2) * radius  # as far as the tip of a right-angled corner
            room[reached] = np.maximum(room[reached], radius)
        radius /= 1.25
    return np.where(inside, np.minimum(depth / np.maximum(room, 1), 1), 0).astype(np.float32)
