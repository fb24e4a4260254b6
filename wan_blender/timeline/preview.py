# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run would generate, from the mask alone: runs in the background Blender."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from ..core import job, schema
from ..core.errors import EmptyMask
from ..core.frame_ranges import frames_in
from ..core.mask_settings import Mask, RegionSettings
from ..core.settings import Job
from ..masks.preview import make_preview
from ..model_info.traits import ModelSizes
from .export import OnFrame, export_mask
from .mattes import HOW_TO_MAKE_ONE
from .shot import ShotRequest

FILE = "preview.npz"


def describe(settings: Job, sizes: ModelSizes) -> dict[str, Any]:
    """The settings that decide a preview, as JSON for ``make``."""
    return {
        "mask": schema.to_dict(settings.mask),
        "region": schema.to_dict(settings.region),
        "sizes": schema.to_dict(sizes),
    }


def make(
    request: ShotRequest, folder: Path, described: dict[str, Any], on_frame: OnFrame | None = None
) -> None:
    """Export the mask and write ``folder``/preview.npz, which ``MaskPreview.load`` reads. Raises
    as ``export``, InvalidJob for ``mask.frames`` that cannot be read."""
    mask = schema.from_dict(Mask, described["mask"], "mask")
    chosen = frames_in(mask.frames, request.frames.start, request.frames.stop - 1)
    read_whole = export_mask(request, folder, on_frame)

    def read(index: int) -> np.ndarray:
        used = chosen is None or request.frame_start + index in chosen
        return read_whole(index) if used else np.zeros((request.height, request.width), np.float32)

    preview = make_preview(
        request.frame_start,
        request.frame_count,
        read,
        mask,
        schema.from_dict(RegionSettings, described["region"], "region"),
        ModelSizes(**described["sizes"]),
    )
    shutil.rmtree(folder / job.MASK)
    if preview is None:
        raise EmptyMask(
            f"The mask is empty on the frames {mask.frames!r} of strip {request.strip!r}.",
            HOW_TO_MAKE_ONE,
        )
    preview.save(folder / FILE)
