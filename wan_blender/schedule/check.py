# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine would refuse after the export, and the host can see before it: a typo is not to
cost the export of a whole shot. numpy only."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import WeightsMissing
from ..core.frame_ranges import frames_in
from ..core.settings import Job, LoraUse
from ..model_info.folder import DESCRIPTION, find_folder, is_bundled, peek_object
from .stages import expert_at, loras_for, plan_stages


def check_settings(settings: Job, frames: range) -> None:
    """Raise WeightsMissing for a model or LoRA that the run would read and that is not there,
    InvalidJob for a schedule that cannot be had and for mask.frames outside of the shot's
    ``frames`` on the timeline. A job that only borrows reads no model."""
    frames_in(settings.mask.frames, frames.start, frames.stop - 1)
    if settings.fill.borrow == "only":  # no model is opened
        return
    run_model = settings.model.path
    _check_model("model.path", run_model)
    plan = plan_stages(settings.sampling, settings.stages, _boundary(run_model))
    reached = [(span.stage, plan.sigmas[span.start]) for span in plan.spans]
    read = []
    for stage, sigma in reached:
        expert = expert_at(stage, _boundary(stage.model or run_model), sigma)
        read += loras_for(settings.loras, stage, expert)
    _check_loras("loras", settings.loras, read)
    for index, stage in enumerate(settings.stages):
        if any(stage is other for other, _ in reached):
            _check_model(f"stages[{index}].model", stage.model)
            _check_loras(f"stages[{index}].loras", stage.loras, read)


def _boundary(path: str) -> float | None:
    """Between the two experts of a model, as its folder tells it; None for a single model and where
    it does not."""
    folder = find_folder(path)
    told = peek_object(folder / "model_index.json") | peek_object(folder / DESCRIPTION)
    boundary = told.get("boundary", told.get("boundary_ratio"))
    return boundary if isinstance(boundary, (int, float)) else None


def _check_model(name: str, path: str) -> None:
    if not is_bundled(path) and not _exists(path):
        raise WeightsMissing(
            f"There is no model folder {path} ({name}).",
            "Choose a model that is there; the Wan tab's Model lists them.",
        )


def _check_loras(name: str, loras: list[LoraUse], read: list[LoraUse]) -> None:
    """Of ``loras`` those that are also in ``read``."""
    for index, lora in enumerate(loras):
        if any(lora is other for other in read) and not (lora.file and _exists(lora.file)):
            raise WeightsMissing(
                f"There is no LoRA file {lora.file!r} ({name}[{index}].file).",
                "Choose a file that is there, or take the LoRA off the list.",
            )


def _exists(path: str) -> bool:
    try:
        return Path(os.path.expanduser(path)).exists()
    except (OSError, ValueError):  # a name too long, or with a null: the engine says it
        return True
