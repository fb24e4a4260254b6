# SPDX-License-Identifier: GPL-3.0-or-later
"""Does the seam score follow how strong a seam is?

Photograph-like pictures with a patch whose fault has a known strength, 0 included; Spearman's
correlation over all pictures and strengths.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from benchmarks.decisions import spearman
from wan_blender.engine.frames.seam_score import score_edge
from wan_blender.engine.frames.seams import SeamMeter

from .offsets import FAULTS, a_mask, photographs

STRENGTHS = (0.0, 0.1, 0.2, 0.4, 0.8)


def table(count: int) -> Iterable[str]:
    pictures = list(photographs(count))
    yield "| fault | seam score | gradient ratio, as before | score without / at 0.8 |"
    yield "|---" * 4 + "|"
    for name, fault in FAULTS.items():
        found = [
            (strength, *_scores(picture, fault(picture, strength), a_mask(seed)))
            for seed, picture in enumerate(pictures)
            for strength in STRENGTHS
        ]
        strength, score, ratio = np.array(found).T
        ends = f"{score[strength == 0].mean():.2f} / {score[strength == STRENGTHS[-1]].mean():.2f}"
        new, old = (spearman(strength, one) for one in (score, ratio))
        yield f"| {name} | {new:.2f} | {old:.2f} | {ends} |"


def _scores(picture: np.ndarray, wrong: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    grown = cv2.dilate(mask, np.ones((17, 17), np.uint8)) > 0
    plate, made = (np.clip(p / 2 + 0.5, 0, 1) for p in (picture, wrong))
    soft = cv2.GaussianBlur(mask, (0, 0), 0.7)[..., None]
    meter = SeamMeter()
    meter.add(plate, soft * made + (1 - soft) * plate, mask)
    score = score_edge(plate, made, mask, grown)
    return score.visible, meter.report().gradient_ratio
