# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine would refuse after the export, and the host can see before it: a typo is not to
cost the export of a whole shot. numpy only."""

from __future__ import annotations

import os
from pathlib import Path

from . import job as jobs
from .errors import WeightsMissing
from .stages import plan_stages


def check_settings(settings: jobs.Job, frames: range) -> None:
    """Raise WeightsMissing for a model or LoRA that is not there, InvalidJob for a schedule that
    cannot be had and for mask.frames outside of the shot's ``frames`` on the timeline."""
    jobs.frames_in(settings.mask.frames, frames.start, frames.stop - 1)
    plan_stages(settings.sampling, settings.stages, None)
    _check_model("model.path", settings.model.path)
    _check_loras("loras", settings.loras)
    for index, stage in enumerate(settings.stages):
        _check_model(f"stages[{index}].model", stage.model)
        _check_loras(f"stages[{index}].loras", stage.loras)


def _check_model(name: str, path: str) -> None:
    if path and not path.startswith(jobs.BUNDLED) and not _exists(path):
        raise WeightsMissing(
            f"There is no model folder {path} ({name}).",
            "Choose a model that is there; the Wan tab's Model lists them.",
        )


def _check_loras(name: str, loras: list[jobs.Lora]) -> None:
    for index, lora in enumerate(loras):
        if not lora.file or not _exists(lora.file):
            raise WeightsMissing(
                f"There is no LoRA file {lora.file!r} ({name}[{index}].file).",
                "Choose a file that is there, or take the LoRA off the list.",
            )


def _exists(path: str) -> bool:
    try:
        return Path(os.path.expanduser(path)).exists()
    except (OSError, ValueError):  # a name too long, or with a null: the engine says it
        return True
