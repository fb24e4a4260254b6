# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``hygiene`` group: how much fine detail of its pictures the model is shown."""

from __future__ import annotations

from dataclasses import dataclass

from . import schema


@dataclass
class Hygiene:
    """How fine detail of the start frame is kept from holding the motion; docs/hygiene.md."""

    mode: str = schema.choice(
        "off",
        "What the model sees of the start frame",
        {
            "off": "The start frame as it is",
            "soft": "Lightly blurred where the blur map is painted",
            "scheduled": "Low-passed while motion is decided, the original frame afterwards",
            "both": "Low-passed first, lightly blurred afterwards",
        },
    )
    strength: float = schema.number(1.0, "Factor on the radii of the blur map", 0, 2)
    matte: str = schema.text(
        "", "Matte to blur lightly inside, frame by frame, in addition to what is painted", "matte"
    )
    matte_blur_px: float = schema.number(1.0, "Blur where that matte is white", 0, 2.5, "px")
    keep_edges: bool = schema.flag(False, "Keep the outlines of large objects sharp")
    start: float = schema.number(0.0, "Fraction of the steps at which the low-pass begins", 0, 1)
    end: float = schema.number(0.2, "Fraction of the steps at which the low-pass ends", 0, 1)
    factor: float = schema.number(
        0.4, "Size the frame is reduced to for the low-pass; smaller is stronger", 0.05, 1
    )
    low_pass_region: str = schema.choice(
        "whole",
        "Which part of the pictures is low-passed",
        {
            "whole": "The whole of each picture",
            "map": "Only what the blur map and its matte cover; in end frame and references the "
            "regions that are found by measure",
        },
    )
    deliver_original: bool = schema.flag(
        True, "The first frame of the result is the untouched start frame"
    )

    @property
    def softens(self) -> bool:
        return self.mode in ("soft", "both")

    @property
    def low_passes(self) -> bool:
        return self.mode in ("scheduled", "both")

    @property
    def uses_map(self) -> bool:
        """Whether the blur map decides about anything."""
        return self.softens or (self.low_passes and self.low_pass_region == "map")

    @property
    def needs_map(self) -> bool:
        """Whether nothing is done to the shot's frames without one."""
        return self.mode == "soft" or (self.low_passes and self.low_pass_region == "map")
