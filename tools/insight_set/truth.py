# SPDX-License-Identifier: GPL-3.0-or-later
"""Truth renders for settledness: a textured thing over a textured wall.

What share of the thing's texture is new in each frame is known, and so is the frame at which it
becomes another thing. The decoys change every pixel without anything being unsettled: the camera
pans, zooms or rolls, the light fades, the sensor has grain, the shutter is open while things move.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tools.hygiene_set.patches import soft_noise

DECOYS = ("pan", "zoom", "rotation", "fade", "grain", "motion blur")
BEAT = (1, 5, 9, 13, 17, 21)  # frames that begin a latent group
_MARGIN = 96  # pixels of world around what the camera sees first


@dataclass(frozen=True)
class Truth:
    """``frames`` (T, H, W, 3) in 0..1 and ``masks`` (T, H, W) bool, the thing and a little more."""

    frames: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True)
class Take:
    """How a clip is made. ``reseeded`` is the share of the texture's energy that is new in each
    frame; ``becomes`` the frame from which on the thing has another texture; ``hidden`` the frames
    behind a post, after which it has another one if ``returns_different``."""

    seed: int = 0
    decoy: str = ""
    reseeded: float = 0.0
    only_at: tuple[int, ...] = ()  # frames that are reseeded; all where empty
    becomes: int = 0
    hidden: tuple[int, int] = (0, 0)
    returns_different: bool = False
    frames: int = 13
    size: tuple[int, int] = (128, 176)  # height, width


def render(take: Take) -> Truth:
    """The clip of ``take``; the same take gives the same pixels."""
    rng = np.random.default_rng(take.seed)
    height, width = take.size
    wide = (height + 2 * _MARGIN, width + 2 * _MARGIN)
    wall = 0.45 + _texture(rng, *wide)
    skin, other = _texture(rng, *wide), _texture(rng, *wide)
    way = rng.uniform(-1.6, 1.6, 2)
    radius = rng.uniform(0.24, 0.3) * height
    frames, masks = [], []
    for index in range(take.frames):
        own = other if _is_other(take, index) else skin
        if take.reseeded and (not take.only_at or index in take.only_at):
            fresh = _texture(np.random.default_rng((take.seed, index)), *wide)
            own = np.sqrt(1 - take.reseeded) * own + np.sqrt(take.reseeded) * fresh
        frame, mask = _frame(take, index, wall, own, way, radius)
        frames.append(_light(take, frame, index))
        masks.append(mask)
    grey = np.stack(frames).clip(0, 1).astype(np.float32)
    levels = np.round(grey * 255) / 255  # as files hold it
    return Truth(np.repeat(levels[..., None], 3, -1), np.stack(masks))


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    coarse, fine = soft_noise(rng, height, width, 6), soft_noise(rng, height, width, 1.5)
    return (0.07 * coarse + 0.05 * fine).astype(np.float32)


def _is_other(take: Take, index: int) -> bool:
    after = take.returns_different and index >= take.hidden[1]
    return after or bool(take.becomes and index >= take.becomes)


def _frame(
    take: Take,
    index: int,
    wall: np.ndarray,
    own: np.ndarray,
    way: np.ndarray,
    radius: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) picture and mask: the mean over the time the shutter is open."""
    shutter = (0.0,)
    if take.decoy == "motion blur":
        shutter = tuple(np.linspace(-0.5, 0.5, 9))
    seen = [_moment(take, index + at, wall, own, way, radius) for at in shutter]
    mask = np.max([m for _, m in seen], 0)
    if take.hidden[0] <= index < take.hidden[1]:
        mask = np.zeros_like(mask)
    return np.mean([picture for picture, _ in seen], 0), mask > 0


def _moment(
    take: Take, at: float, wall: np.ndarray, own: np.ndarray, way: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    height, width = take.size
    camera = _camera(take, at)
    middle = at - (take.frames - 1) / 2
    place = np.array([wall.shape[1], wall.shape[0]]) / 2 + way * middle
    if take.decoy == "motion blur":  # a swing: the blur comes and goes
        place[0] += 9 * np.sin(at * 0.7)
    ys, xs = np.mgrid[: wall.shape[0], : wall.shape[1]].astype(np.float32)
    cover = np.clip(radius - np.hypot(xs - place[0], ys - place[1]) + 0.5, 0, 1)
    reach = np.clip(radius + 3 - np.hypot(xs - place[0], ys - place[1]) + 0.5, 0, 1)
    shift = np.float32([[1, 0, way[0] * middle], [0, 1, way[1] * middle]])
    if take.decoy == "motion blur":
        shift[0, 2] += 9 * np.sin(at * 0.7)
    size = (wall.shape[1], wall.shape[0])
    skin = 0.55 + cv2.warpAffine(own, shift, size, flags=cv2.INTER_LANCZOS4, borderMode=2)
    if take.hidden[0] <= at < take.hidden[1]:
        cover = np.zeros_like(cover)
    world = wall + cover * (skin - wall)
    show = {"dsize": (width, height), "borderMode": cv2.BORDER_REFLECT}
    picture = cv2.warpAffine(world, camera, flags=cv2.INTER_LANCZOS4, **show)
    return picture, (cv2.warpAffine(reach, camera, flags=cv2.INTER_LINEAR, **show) > 0.5)


def _camera(take: Take, at: float) -> np.ndarray:
    """(2, 3) from the world to the picture."""
    height, width = take.size
    share = at / (take.frames - 1)
    zoom = 1 + (0.2 * share if take.decoy == "zoom" else 0)
    turn = np.deg2rad(18 * share if take.decoy == "rotation" else 0)
    pan = np.array([2.3, -0.9]) * at if take.decoy == "pan" else np.zeros(2)
    c, s = zoom * np.cos(turn), zoom * np.sin(turn)
    middle = np.array([width, height]) / 2 + _MARGIN + pan
    x = width / 2 - (c * middle[0] - s * middle[1])
    y = height / 2 - (s * middle[0] + c * middle[1])
    return np.float32([[c, -s, x], [s, c, y]])


def _light(take: Take, frame: np.ndarray, index: int) -> np.ndarray:
    if take.decoy == "fade":
        return frame * (1 - 0.7 * index / (take.frames - 1))
    if take.decoy == "grain":
        rng = np.random.default_rng((take.seed, index, 7))
        return frame + rng.normal(0, 4 / 255, frame.shape)
    return frame
