# SPDX-License-Identifier: GPL-3.0-or-later
"""How each kind of Wan is told what to make: one file per way a model takes its condition.

A Condition turns noisy latents into the transformer's inputs. Which one a job gets is decided by
the model it runs on, never by the user.
"""

from __future__ import annotations

from ...errors import WrongModel
from ..models.loading import Bundle
from .image import ImageToVideo
from .per_token import PerToken
from .scene import Scene
from .text import Condition, TextOnly
from .vace import Vace

__all__ = ["Condition", "Scene", "make_condition"]

_KINDS = {
    "t2v": TextOnly,
    "vace": Vace,
    "i2v": ImageToVideo,
    "flf2v": ImageToVideo,
    "ti2v": PerToken,
}


def make_condition(bundle: Bundle, scene: Scene) -> Condition:
    """The condition this model was trained to see. Raises WrongModel for a layout we lack, or
    when the shot cannot give what the layout needs (no start frame)."""
    if bundle.traits.kind not in _KINDS:
        raise WrongModel(
            f"{bundle.name} is a {bundle.traits.kind!r} model with {bundle.traits.in_channels} "
            "input channels, which this version cannot condition.",
            "Choose a text-to-video, image-to-video, VACE or 5B model.",
        )
    return _KINDS[bundle.traits.kind](bundle, scene)
