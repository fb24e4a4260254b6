# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar. Panels draw and do nothing else."""

from . import mask_overlay, matrix, model, presets, schedule, settings
from .generate import WAN_PT_generate
from .results import WAN_PT_results
from .shot import WAN_PT_shot

CLASSES = (
    presets.WAN_MT_sampling_presets,
    presets.WAN_PT_sampling_presets,
    WAN_PT_shot,
    WAN_PT_generate,
    WAN_PT_results,
    *mask_overlay.CLASSES,
    *matrix.CLASSES,
    *model.CLASSES,
    *schedule.CLASSES,
    *settings.CLASSES,
)
