# SPDX-License-Identifier: GPL-3.0-or-later
"""How each kind of Wan is told what to make: one file per way a model takes its condition.

A Condition turns noisy latents into the transformer's inputs. Which one a job gets is decided by
the model it runs on, never by the user.
"""

from __future__ import annotations

from ...core.errors import WrongModel
from ...core.job_pictures import END, REFERENCES, START, pictures
from ...core.mask_settings import ModelMask
from ...model_info.traits import KINDS, Traits
from ..models.bundle import Bundle
from .image import GivenFrames, ImageToVideo
from .per_token import PerToken
from .scene import Scene
from .text import Condition, TextOnly
from .vace import Vace, strengths

__all__ = ["Condition", "Scene", "make_condition", "require"]

# By the name that model_info.traits.KINDS calls them.
CONDITIONS = {"text": TextOnly, "vace": Vace, "image": ImageToVideo, "per_token": PerToken}


def make_condition(bundle: Bundle, scene: Scene) -> Condition:
    """The condition this model was trained to see, of a shot that ``require`` lets pass."""
    return CONDITIONS[KINDS[bundle.traits.kind].condition](bundle, scene)


def require(name: str, traits: Traits, scene: Scene) -> list[str]:
    """Notes on what the model ``name`` is not told of ``scene``, in words. Refuses what it
    cannot be told, before anything is loaded: WrongModel for a layout we lack, for a shot that
    cannot give what the layout needs (no start frame) and for settings that only another kind of
    model heeds; InvalidJob and LengthMismatch for settings that do not fit the shot."""
    condition = KINDS[traits.kind].condition
    if not condition:
        raise WrongModel(
            f"{name} is a {traits.kind!r} model with {traits.in_channels} "
            "input channels, which this version cannot condition.",
            "Choose a text-to-video, image-to-video, VACE or 5B model.",
        )
    if condition != "vace":
        _refuse(name, "VACE", [*_pictures(scene, REFERENCES), *_steering(scene)])
    if not traits.needs_image:
        _refuse(name, "image-to-video", [*_pictures(scene, START, END), *_giving(scene)])
    if scene.settings.shape == "own":
        scene.mask(0)
    if condition == "vace":
        strengths(scene, scene.region.grid.latent_shape[0], 0)
    elif traits.needs_image:
        return GivenFrames(scene, traits, name).notes(name)
    else:
        return _unseen(name, scene)
    return []


def _pictures(scene: Scene, *names: str) -> list[str]:
    return [name for name in names if pictures(scene.shot.folder, scene.settings, name)]


def _steering(scene: Scene) -> list[str]:
    return _changed(scene, "time", "strength", "strengths")


def _giving(scene: Scene) -> list[str]:
    """0 start frames, which tasks ask for whatever the model is, are no more than it is shown."""
    return _changed(scene, "known", *(["start_frames"] if scene.settings.start_frames else []))


def _changed(scene: Scene, *names: str) -> list[str]:
    default = ModelMask()
    return [name for name in names if getattr(scene.settings, name) != getattr(default, name)]


def _unseen(name: str, scene: Scene) -> list[str]:
    """Settings of a mask that the model is not shown; the task Remove makes some for those that
    are."""
    settings = _changed(scene, "shape", "grow_px", "grow_before", "grow_after")
    words = _words(settings)
    return [f"{name} is shown no mask, so {words} does nothing."] if settings else []


def _refuse(name: str, kind: str, settings: list[str]) -> None:
    if settings:
        raise WrongModel(
            f"{name} is not made for {kind} and would ignore {_words(settings)}.",
            f"Choose a model for {kind}, or reset what is named here.",
        )


def _words(settings: list[str]) -> str:
    return ", ".join(f"model_mask.{setting}" for setting in settings)
