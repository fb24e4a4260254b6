# SPDX-License-Identifier: GPL-3.0-or-later
"""Masks as users draw them. Float32 (frames, height, width), 1 = generate, 0 = keep."""

from __future__ import annotations

import cv2
import numpy as np

STYLES = ("blob", "blob", "box", "feathered", "static", "static box")


def mask_around(rng: np.random.Generator, cover: np.ndarray) -> np.ndarray:
    """A mask that encloses `cover` (frames, height, width) with a margin, in a random style."""
    frames, height, width = cover.shape
    margin = rng.uniform(0.02, 0.10) * min(height, width)
    style = str(rng.choice(STYLES))
    inside = (cover > 0.02).astype(np.float32)
    if style.startswith("static"):
        inside = np.repeat(inside.max(axis=0, keepdims=True), frames, axis=0)
    if style.endswith("box"):
        return np.stack([_box_around(frame, margin) for frame in inside])
    grown = np.stack([_grow(frame, margin) for frame in inside])
    if style != "feathered":
        return grown
    soft = np.stack([cv2.GaussianBlur(frame, (0, 0), max(margin / 2, 0.8)) for frame in grown])
    return np.clip(soft * 1.4, 0.0, 1.0)


def free_mask(rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
    """A mask that follows nothing: something that drifts, one side of the frame, several drifting
    things, or all but a box."""
    size = (frames, height, width)
    style = rng.random()
    if style < 0.55:
        return _drifting(rng, *size)
    if style < 0.70:
        return _one_side(rng, *size)
    if style < 0.85:
        return np.maximum(_drifting(rng, *size), _drifting(rng, *size))
    mask = np.ones(size, np.float32)
    low = rng.uniform(0.05, 0.4, 2)
    high = low + rng.uniform(0.35, 0.55, 2)
    rows, columns = (
        slice(round(low[i] * side), round(high[i] * side)) for i, side in enumerate((height, width))
    )
    mask[:, rows, columns] = 0.0
    return mask


def _drifting(rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
    """A drifting box or disc, or a thin stroke; sometimes fast."""
    unit = min(height, width)
    start, end = rng.uniform(0.15, 0.85, (2, 2)) * (width, height)
    if rng.random() < 0.5:
        end = start
    half = rng.uniform(0.12, 0.35, 2) * unit
    thin = rng.random() < 0.15
    mask = np.zeros((frames, height, width), np.float32)
    for index in range(frames):
        x, y = start + (end - start) * index / max(frames - 1, 1)
        low = (round(x - half[0]), round(y - half[1]))
        high = (round(x + half[0]), round(y + half[1]))
        if thin:
            cv2.line(mask[index], low, high, 1.0, max(2, unit // 24))
        elif half[0] > half[1]:
            cv2.rectangle(mask[index], low, high, 1.0, -1)
        else:
            cv2.circle(mask[index], (round(x), round(y)), round(half[1]), 1.0, -1)
    return mask


def _one_side(rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
    """Left, right, top or bottom, up to two thirds of the frame (outpainting)."""
    mask = np.zeros((frames, height, width), np.float32)
    along = mask if rng.random() < 0.5 else mask.transpose(0, 2, 1)
    edge = round(rng.uniform(0.2, 0.65) * along.shape[1])
    (along if rng.random() < 0.5 else along[:, ::-1])[:, :edge] = 1.0
    return mask


def later_frames(rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
    """Keep the first few frames, generate the rest (extension)."""
    mask = np.ones((frames, height, width), np.float32)
    mask[: int(rng.integers(1, max(2, frames // 2 + 1)))] = 0.0
    return mask


def other_frames(rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
    """Keep frames at one end or both: extend either way, bridge, first and last frame."""
    task = rng.random()
    if task < 0.3:
        mask = later_frames(rng, frames, height, width)
        return mask if rng.random() < 0.7 else np.ascontiguousarray(mask[::-1])
    mask = np.ones((frames, height, width), np.float32)
    most = 1 if task < 0.55 else max(1, frames // 3)
    mask[: int(rng.integers(1, most + 1))] = 0.0
    mask[frames - int(rng.integers(1, most + 1)) :] = 0.0
    return mask


def over_groups(mask: np.ndarray) -> np.ndarray:
    """The largest mask of the frames that share a latent, {0}, {1-4}, ..., on each: as the engine
    shows masks to VACE unless told otherwise. Frames are 4 n + 1."""
    later = mask[1:].reshape(-1, 4, *mask.shape[1:]).max(axis=1)
    return np.concatenate([mask[:1], later.repeat(4, axis=0)])


def _grow(frame: np.ndarray, margin: float) -> np.ndarray:
    size = 2 * round(margin) + 1
    return cv2.dilate(frame, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))


def _box_around(frame: np.ndarray, margin: float) -> np.ndarray:
    box = np.zeros_like(frame)
    ys, xs = np.nonzero(frame)
    if len(ys):
        low = np.maximum(0, (xs.min() - margin, ys.min() - margin)).astype(int)
        box[low[1] : int(ys.max() + margin) + 1, low[0] : int(xs.max() + margin) + 1] = 1.0
    return box
