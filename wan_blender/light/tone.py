# SPDX-License-Identifier: GPL-3.0-or-later
"""sRGB beyond white, and the curve by which a model sees it.

Values are sRGB's, 1 is white, and go on above it by the same formula (IEC 61966-2-1), below 0 in
mirror image. That is what Blender's sequencer blends in, so a soft matte mixes the same here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

KNEE = 0.8  # sRGB value below which the model sees the picture as it is; 0.6 of white's light
HALF_MAX = 65504.0  # largest half float


def encode_srgb(light: np.ndarray) -> np.ndarray:
    """Linear light, 1 is white, to sRGB values. float32, not clipped."""
    size = np.abs(light, dtype=np.float32)
    curved = 1.055 * np.power(np.maximum(size, 0.0031308), 1 / 2.4, dtype=np.float32) - 0.055
    return np.copysign(np.where(size <= 0.0031308, size * 12.92, curved), light, dtype=np.float32)


def decode_srgb(values: np.ndarray) -> np.ndarray:
    """sRGB values to linear light. float32, not clipped. Each half float comes back as itself
    through ``encode_srgb`` and this, rounded to half."""
    size = np.abs(values, dtype=np.float32)
    curved = np.power((np.maximum(size, 0.04045) + 0.055) / 1.055, 2.4, dtype=np.float32)
    return np.copysign(np.where(size <= 0.04045, size / 12.92, curved), values, dtype=np.float32)


@dataclass(frozen=True)
class Tone:
    """The curve for a shot whose brightest value is ``peak`` in linear light.

    Up to KNEE k it is v itself. Above, with x = (v - k) / (1 - k), it is k + (1 - k) g(x), where
    g(x) = log(1 + a x) / log(1 + a X) takes x of the peak, X, to 1; a is such that g has slope 1
    at 0, so there is no kink at the knee. A peak of white or less is seen as it is.
    """

    peak: float = 0.0
    bend: float = field(init=False)  # a; 0 for none

    def __post_init__(self) -> None:
        object.__setattr__(self, "bend", _solve_bend(self._reach))

    @property
    def _reach(self) -> float:
        """X."""
        return (float(encode_srgb(np.float32(max(self.peak, 1)))) - KNEE) / (1 - KNEE)

    def compress(self, values: np.ndarray) -> np.ndarray:
        """sRGB values as the model sees them, in 0..1."""
        if self.bend == 0:
            return np.clip(values, 0, 1)
        x = (np.maximum(values, KNEE) - KNEE) / (1 - KNEE)
        seen = KNEE + (1 - KNEE) * np.log1p(self.bend * x) / self.bend
        return np.where(values > KNEE, seen, values).clip(0, 1).astype(np.float32)

    def expand(self, seen: np.ndarray) -> np.ndarray:
        """The inverse of ``compress``: at most the peak."""
        if self.bend == 0:
            return seen
        y = (np.maximum(seen, KNEE) - KNEE) / (1 - KNEE)
        values = KNEE + (1 - KNEE) * np.expm1(self.bend * y) / self.bend
        return np.where(seen > KNEE, values, seen).astype(np.float32)


def _solve_bend(reach: float) -> float:
    """The a > 0 with log(1 + a X) = a, by Newton's method from above, where it does not overshoot.
    0 for a reach of 1, where there is none."""
    if reach <= 1 + 1e-6:
        return 0.0
    a = 2 * math.log1p(reach) + 2
    for _ in range(50):
        a -= (math.log1p(a * reach) - a) / (reach / (1 + a * reach) - 1)
    return a


PLAIN = Tone()
