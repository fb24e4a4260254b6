# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gray value of the mask means: to the sampler, and to the patch. numpy only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..core.registry import find

Rule = Callable[[np.ndarray], np.ndarray]  # the drawn mask in 0..1 -> the same for one of them


@dataclass(frozen=True)
class Gray:
    """``sampler`` gives how much of the picture is made new, ``patch`` how much of that shows."""

    sampler: Rule
    patch: Rule


def find_gray(name: str) -> Gray:
    """One of GRAYS. Raises InvalidJob."""
    return find(GRAYS, name, "meaning of gray")


def _as_drawn(mask: np.ndarray) -> np.ndarray:
    return mask


def _whole(mask: np.ndarray) -> np.ndarray:
    return (mask > 0).astype(np.float32)


GRAYS = {
    "amount": Gray(_as_drawn, _whole),
    "opacity": Gray(_whole, _as_drawn),
    "both": Gray(_as_drawn, _as_drawn),
}
