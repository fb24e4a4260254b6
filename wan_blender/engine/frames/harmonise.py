# SPDX-License-Identifier: GPL-3.0-or-later
"""A smooth field that makes a patch meet the plate, at its edge in space and at cuts in time.

In space it is a membrane (Perez et al., Poisson Image Editing, 2003): beside the mask's edge it is
what the picture lacks there, and inside it has no curvature. It is read where cells beyond the edge
were generated too, so that both pictures are known at the same pixels. A value far from the others
is something that the new picture shows and the plate does not, and holds nothing.

In time it is the difference between the first new frame and the kept one beside it, in the large
parts of the picture, and fades with the distance from the cut.

Pictures are (H, W, 3) in [-1, 1], masks (H, W). Fields are small: (h, w, 3), SIDE long at most.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 96
NEAR_PX = 3.0  # how fast what lies beside the edge counts less with its distance
BAND_PX = 12
PLAIN = 0.25  # a difference this much larger than the usual one counts 1/e
ROUNDS = 60  # of relaxation on each level
CUT_SIDE = 24  # of the reduced pictures that are compared across a cut
# Blur in cells of these, and what PLAIN is across a cut.
CUTS = {"light": (1.5, 0.25), "blend": (0.6, 0.8)}
FADE_FRAMES = 6
MOST = 0.8  # of a field at a cut: what is larger is no shift of colour


def reduced(picture: np.ndarray, side: int) -> np.ndarray:
    """``picture`` averaged down to ``side`` pixels along its longer side."""
    scale = min(1.0, side / max(picture.shape[:2]))
    size = tuple(max(1, round(edge * scale)) for edge in picture.shape[1::-1])
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def enlarged(field: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return cv2.resize(field, shape[1::-1], interpolation=cv2.INTER_LINEAR)


def membrane(
    plate: np.ndarray, picture: np.ndarray, mask: np.ndarray, generated: np.ndarray
) -> np.ndarray | None:
    """What ``picture`` lacks at the edge of ``mask``, spread inward; None without such an edge
    or where nothing was generated beyond it. ``generated`` (H, W) tells the pixels of generated
    cells."""
    inside = mask > 0
    if inside.all() or not inside.any():
        return None
    apart = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 3)
    beside = np.exp(-apart / NEAR_PX) * (~inside & (apart <= BAND_PX))
    known, weight = _mean_cells(plate - picture, beside * (generated > 0))
    weight = weight * _plain(known, weight)
    if weight.max() < 1e-4:
        return None
    return _relaxed(known, np.minimum(weight / weight.max() * 8, 4))


def _mean_cells(values: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    small = reduced(weight.astype(np.float32), SIDE)
    mean = reduced((values * weight[..., None]).astype(np.float32), SIDE)
    return mean / np.maximum(small, 1e-6)[..., None], small


def _plain(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(h, w) in 0..1: small where a value is far from the median of all."""
    there = weight > 1e-4
    if not there.any():
        return weight
    usual = np.median(values[there], 0)
    return np.exp(-((np.abs(values - usual).max(-1) / PLAIN) ** 2))


def _relaxed(known: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The field of least curvature through ``known`` where ``weight`` is, from coarse to fine."""
    if min(known.shape[:2]) > 4:
        size = (known.shape[1] // 2, known.shape[0] // 2)
        small = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        held = cv2.resize(known * weight[..., None], size, interpolation=cv2.INTER_AREA)
        coarse = _relaxed(held / np.maximum(small, 1e-6)[..., None], small)
        field = cv2.resize(coarse, known.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    else:
        total = max(float(weight.sum()), 1e-6)
        field = np.broadcast_to((known * weight[..., None]).sum((0, 1)) / total, known.shape)
    kernel = np.float32([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) / 4
    for _ in range(ROUNDS):
        around = cv2.filter2D(field, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        field = (around + weight[..., None] * known) / (1 + weight[..., None])
    return field.astype(np.float32)


def field_at_cut(first: np.ndarray, kept: np.ndarray, how: str) -> np.ndarray:
    """What the ``first`` new frame lacks against ``kept``, the frame beside it; both reduced to
    CUT_SIDE. ``how`` is one of CUTS."""
    blur, plain = CUTS[how]
    field = kept - first
    usual = np.median(field, (0, 1))
    apart = np.abs(field - usual).max(-1, keepdims=True) / plain
    weight = np.exp(-(apart**2)) + np.float32(1e-3)
    mean = cv2.GaussianBlur(field * weight, (0, 0), blur)
    mean = mean / cv2.GaussianBlur(weight, (0, 0), blur)[..., None]
    return np.clip(mean, -MOST, MOST)


def fade(frames: int) -> float:
    """Share of a cut's field on the frame so many ``frames`` after it, the first is 1."""
    return max(0.0, 1 - (frames - 1) / FADE_FRAMES)
