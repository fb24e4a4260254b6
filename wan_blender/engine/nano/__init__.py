# SPDX-License-Identifier: GPL-3.0-or-later
"""The bundled tiny Wan: a model that really generates, in seconds on two processor cores.

It knows one small world, coloured shapes that move over plain and patterned walls, and speaks its
language; docs/model_card.md says what was measured. Folders are in diffusers layout; what the
variants share lies in base/, and each variant's wan_blender.json points there.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent

# vace: text to video, inpainting and extension. i2v: a start frame. experts: a high-noise and a
# low-noise half, as Wan 2.2 has them.
VARIANTS: dict[str, Path] = {name: _HERE / name for name in ("vace", "i2v", "experts")}
DEFAULT = "vace"
TITLES = {"vace": "VACE", "i2v": "I2V", "experts": "VACE, two experts"}
