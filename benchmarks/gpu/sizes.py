# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured on a card, and a copy of it that any machine runs in seconds."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.shapes import WAN_1_3B, WAN_1_3B_720P, WAN_14B, WAN_14B_720P, Shape

from .models import Sizes

REAL = Sizes(WAN_1_3B, WAN_14B, WAN_1_3B_720P, WAN_14B_720P)
_TINY = Shape("tiny", 2, 32, 64, 2, (2, 16, 20), 8)
TINY = Sizes(
    _TINY,
    replace(_TINY, name="tiny large", layers=3),
    replace(_TINY, name="tiny 720p", latents=(2, 20, 24)),
    replace(_TINY, name="tiny large 720p", layers=3, latents=(2, 20, 24)),
    shares=(0.05, 1.0),
    steps=8,
    vae_base=8,
    vae_latents=2,
)
