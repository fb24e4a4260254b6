# SPDX-License-Identifier: GPL-3.0-or-later
"""Clips with a known matte: a textured thing that moves over a textured ground that moves too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from wan_blender.engine.matte.region import fill
from wan_blender.masks import outline

MOTIONS = ("translation", "rotation", "scale", "deformation", "occlusion", "motion blur")
RIGID = ("translation", "rotation", "scale")
HIDDEN = range(20, 25)  # frames, behind something, in the clip with occlusion
SHUTTER = 5  # pictures in one with motion blur
STEP = 8  # pixels between the places whose motion is computed


@dataclass(frozen=True)
class Clip:
    """``frames`` (n, H, W, 3) uint8, ``truth`` (n, H, W) bool, ``splines`` of its first frame."""

    frames: np.ndarray
    truth: np.ndarray
    splines: list[np.ndarray]


def texture(rng: np.random.Generator, size: tuple[int, int], rough: float) -> np.ndarray:
    """(H, W, 3) float: noise of several grain sizes, 0..255."""
    width, height = size
    total = np.zeros((height, width, 3), np.float32)
    for grain, weight in ((3, rough), (8, 1.0), (24, 1.0), (70, 1.0)):
        small = rng.normal(0, 1, (height // grain + 3, width // grain + 3, 3)).astype(np.float32)
        total += weight * cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(120 + 28 * total, 0, 255)


def make_clip(
    motion: str, size: tuple[int, int] = (832, 480), count: int = 48, seed: int = 0
) -> Clip:
    """A blob of a fifth of the height, moved as ``motion`` says."""
    rng = np.random.default_rng(seed)
    width, height = size
    ground = texture(rng, (width + 200, height + 200), 0.5)
    thing = texture(rng, size, 0.6) * (0.9, 0.8, 1.1)
    scale = height / 480
    angle = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    radius = 88 * scale * (1 + 0.22 * np.sin(3 * angle + 1))
    centre = np.array([width * 0.36, height * 0.5])
    blob = centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    spline = outline.smooth(outline.flatten(outline.curved(blob), 40), 32, 0.5)
    moved = _motion(motion, centre, scale)
    frames, truth = [], []
    for index in range(count):
        shutter = SHUTTER if motion == "motion blur" else 1
        times = index + np.arange(shutter) / (2 * shutter)
        pictures = [_draw(ground, thing, spline, size, moved, time)[0] for time in times]
        frame, inside = (
            np.mean(pictures, 0),
            _draw(ground, thing, spline, size, moved, times.mean())[1],
        )
        if motion == "occlusion" and 20 <= index < 25:
            frame[:, int(width * 0.2) : int(width * 0.85)] = ground[
                :height, : int(width * 0.85) - int(width * 0.2)
            ][::-1]
        noise = rng.normal(0, 2, frame.shape)
        frames.append(np.clip(frame + noise, 0, 255).astype(np.uint8))
        truth.append(inside)
    first = moved(spline.reshape(-1, 2), 0.2 if motion == "motion blur" else 0.0)
    return Clip(np.stack(frames), np.stack(truth), [first.reshape(spline.shape)])


Moved = Callable[[np.ndarray, float], np.ndarray]


def _motion(name: str, centre: np.ndarray, scale: float) -> Moved:
    """Where a point of the thing is at a time in frames."""

    def moved(points: np.ndarray, time: float) -> np.ndarray:
        away = points - centre
        turn, grow, shift = 0.004 * time, 1.0, np.array([2.2, 0.7 * np.sin(time / 6)]) * scale
        if name == "rotation":
            turn = 0.028 * time
        elif name == "scale":
            grow = 1.0 + 0.011 * time
        elif name == "motion blur":
            shift = np.array([5.0, 0.0]) * scale
        if name == "deformation":
            bend = 0.12 * np.sin(time / 7)
            away = away + np.stack(
                [
                    bend * 40 * scale * np.sin(away[:, 1] / (45 * scale)),
                    bend * 60 * scale * np.sin(away[:, 0] / (40 * scale)),
                ],
                1,
            )
        rotation = np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
        return centre + grow * away @ rotation.T + shift * time

    return moved


def _draw(
    ground: np.ndarray,
    thing: np.ndarray,
    spline: np.ndarray,
    size: tuple[int, int],
    moved: Moved,
    time: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(picture, inside) at a time."""
    width, height = size
    pan = np.array([(1, 0, -0.8 * time - 20), (0, 1, -0.3 * time - 20)])
    picture = cv2.warpAffine(ground.astype(np.float32), pan, size)
    xs, ys = np.meshgrid(np.arange(0, width + STEP, STEP), np.arange(0, height + STEP, STEP))
    pixels = np.stack([xs.ravel(), ys.ravel()], 1) + 0.5
    back = pixels.copy()
    for _ in range(12):  # the inverse of the motion, by fixed point
        back = back + (pixels - moved(back, time)) * 0.7
    coarse = back.reshape(*xs.shape, 2).astype(np.float32) - 0.5
    wide, high = xs.shape[1] * STEP, xs.shape[0] * STEP
    grid = np.array([(STEP, 0, 0), (0, STEP, 0)], np.float32)
    back = cv2.warpAffine(coarse, grid, (wide, high), flags=cv2.INTER_LINEAR)[:height, :width]
    drawn = cv2.remap(thing.astype(np.float32), back, None, cv2.INTER_LINEAR)
    shape = fill([spline], size).astype(np.float32)
    alpha = cv2.remap(shape, back, None, cv2.INTER_LINEAR)
    return picture + alpha[..., None] * (drawn - picture), alpha > 0.5


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0
