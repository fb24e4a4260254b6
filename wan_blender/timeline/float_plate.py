# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of a plate that may be brighter than white, or outside of Rec.709.

One such frame makes all of them half float. Without one they are 16-bit PNG, which is finer. Which
it will be is known at the last frame only, so as long as none was bright both are written.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..light import exr
from ..light.tone import HALF_MAX, encode_srgb
from . import png

ABOVE = 2**-11  # of white: half float cannot tell less from it
BELOW = 2**-16  # a 16-bit step is 1.2e-6 there; rounding on the way makes a tenth of that


class FloatPlate:
    """Takes what ``solo.write_exr`` lets Blender render and writes the frames of ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.peak = 0.0  # brightest light, once a frame needs float
        self._brightest = 1.0
        self.broken = 0  # pixels that are not finite

    @property
    def suffix(self) -> str:
        return ".exr" if self.peak else ".png"

    def add(self, rendered: Path, index: int, opaque: bool) -> None:
        """Write frame ``index`` from a rendered file, which goes; ``opaque`` without its alpha."""
        light, alpha = self._read(rendered)
        straight = light / np.where(alpha > 0, alpha, 1)
        self._brightest = max(self._brightest, float(np.float16(straight.max())))
        if self._brightest > 1 + ABOVE or straight.min() < -BELOW:
            self.peak = self._brightest
        name = self.folder / f"{index:06d}"
        planes = np.moveaxis(light if opaque else np.dstack([light, alpha]), 2, 0)
        exr.write(name.with_suffix(".exr"), dict(zip("RGBA", planes)))
        if not self.peak:
            values = encode_srgb(straight)
            png.write16(name.with_suffix(".png"), values if opaque else np.dstack([values, alpha]))
        rendered.unlink()

    def _read(self, rendered: Path) -> tuple[np.ndarray, np.ndarray]:
        """Linear light (H, W, 3), multiplied by alpha (H, W, 1); both as half float holds them."""
        planes = exr.read(rendered)
        light = np.dstack([planes[name] for name in "RGB"])
        self.broken += int((~np.isfinite(light)).any(2).sum())
        light = np.nan_to_num(light, nan=0.0).clip(-HALF_MAX, HALF_MAX)
        return light, planes["A"][..., None].clip(0, 1)

    def finish(self) -> float:
        """Remove the files of the kind that was not needed; returns the peak, 0 for PNG."""
        other = ".png" if self.peak else ".exr"
        for path in self.folder.glob(f"*{other}"):
            path.unlink()
        return self.peak
