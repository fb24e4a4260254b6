# SPDX-License-Identifier: GPL-3.0-or-later
"""Classical vision that judges generated frames, knowing nothing of the model that made them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .world import HUES

PLAIN_SPREAD, STRIPED_COHERENCE = 0.045, 0.3


@dataclass(frozen=True)
class Sight:
    """What was seen in one frame: colour and kind by name, centre in pixels, area in pixels."""

    colour: str
    kind: str
    centre: tuple[float, float]
    area: float


def vivid(frame: np.ndarray) -> np.ndarray:
    """Pixels of strong colour, bool (height, width); `frame` is RGB in 0..1. Walls are muted."""
    highest, lowest = frame.max(axis=-1), frame.min(axis=-1)
    return (highest - lowest > 0.36) & (highest - lowest > 0.5 * highest)


def look(frame: np.ndarray, within: np.ndarray | None = None) -> Sight | None:
    """The largest strongly coloured thing of `frame`, or None if there is none of 0.4 % of it."""
    found = _largest(frame, within)
    if found is None:
        return None
    thing, seen = found
    moments = cv2.moments(thing.astype(np.uint8), binaryImage=True)
    return Sight(
        colour_of(frame[thing & seen]),
        kind_of(thing.astype(np.uint8)),
        (moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]),
        float(thing.sum()),
    )


def _largest(frame: np.ndarray, within: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | None:
    """The largest thing and all that is vivid, bool (height, width) each."""
    seen = vivid(frame) if within is None else vivid(frame) & (within > 0.5)
    # highlights and dark rims of shiny things are not vivid; they belong to it all the same
    blobs = cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    blobs = cv2.morphologyEx(blobs, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(blobs)
    if count < 2:
        return None
    best = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    if stats[best, cv2.CC_STAT_AREA] < 0.004 * blobs.size:
        return None
    return labels == best, seen


def pattern_of(frame: np.ndarray, within: np.ndarray | None = None) -> str | None:
    """ "striped", "checked" or "" of the largest thing, None if there is nothing.

    Plain is what varies little in brightness. Stripes have one direction: the structure tensor's
    coherence (Bigun and Granlund 1987), ((l1 - l2) / (l1 + l2))^2 over the thing, is high.
    """
    found = _largest(frame, within)
    if found is None:
        return None
    inside = cv2.erode(found[0].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    bright = frame.max(axis=-1).astype(np.float32)
    if inside.sum() < 20 or bright[inside].std() < PLAIN_SPREAD:
        return ""
    smooth = cv2.GaussianBlur(bright, (0, 0), 0.8)
    dx, dy = (cv2.Sobel(smooth, cv2.CV_32F, *order)[inside] for order in ((1, 0), (0, 1)))
    xx, yy, xy = (dx * dx).mean(), (dy * dy).mean(), (dx * dy).mean()
    coherence = ((xx - yy) ** 2 + 4 * xy**2) / (xx + yy) ** 2
    return "striped" if coherence > STRIPED_COHERENCE else "checked"


def colour_of(pixels: np.ndarray) -> str:
    """The name nearest to the circular mean hue of `pixels` (count, 3), weighted by chroma."""
    red, green, blue = pixels.mean(axis=0)
    hue = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360
    names = {name: _circle_hue(angle) for name, angle in HUES.items()}
    return min(names, key=lambda name: abs((names[name] - hue + 180) % 360 - 180))


def _circle_hue(degrees: float) -> float:
    """The angle that `colour_of` measures for a pure HSV hue; they differ by up to 1.2 degrees."""
    red, green, blue = (
        float(np.clip(abs((degrees / 60 + shift) % 6 - 3) - 1, 0, 1)) for shift in (0, 4, 2)
    )
    return float(np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360)


# Midway between the most solid star (0.81) and the least solid triangle (0.89) that is rendered.
_SOLID = 0.85


def kind_of(thing: np.ndarray) -> str:
    """Class of a filled mask, uint8 (height, width), from its outline."""
    scale = 4
    big = cv2.resize(thing * 255, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    contours, tree = cv2.findContours(
        (big > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    outer = max(
        (i for i in range(len(contours)) if tree[0][i][3] < 0),
        key=lambda i: cv2.contourArea(contours[i]),
    )
    area = cv2.contourArea(contours[outer])
    holes = sum(
        cv2.contourArea(contours[i]) for i in range(len(contours)) if tree[0][i][3] == outer
    )
    if holes > 0.05 * area:
        return "ring"
    hull = cv2.convexHull(contours[outer])
    if area < _SOLID * cv2.contourArea(hull):
        return "star"
    (_, (width, height), _) = cv2.minAreaRect(hull)
    fits = {
        "triangle": area / max(cv2.minEnclosingTriangle(hull)[0], 1e-6),
        "box": area / max(width * height, 1e-6),
        "ball": area / (np.pi * cv2.minEnclosingCircle(hull)[1] ** 2),
    }
    return max(fits, key=fits.get)


def moved(clip: np.ndarray) -> str | None:
    """Where the largest thing goes from first to last frame; "still" below 4 % of the side."""
    first, last = look(clip[0]), look(clip[-1])
    if first is None or last is None:
        return None
    dx, dy = (last.centre[i] - first.centre[i] for i in (0, 1))
    if max(abs(dx), abs(dy)) < 0.04 * min(clip.shape[1:3]):
        return "still"
    if abs(dx) > abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise ratio in dB of two pictures or clips in 0..1."""
    return float(-10 * np.log10(np.mean((np.asarray(a) - np.asarray(b)) ** 2) + 1e-12))


def grain(clip: np.ndarray) -> float:
    """Unresolved detail: mean absolute difference to a 3x3 median, frames in 0..1, times 255.

    Clean edges survive a median and textures of several pixels nearly so; noise left over in the
    latents decodes to blotches that do not.
    """
    frames = (np.clip(clip, 0, 1) * 255).astype(np.uint8)
    medians = np.stack([cv2.medianBlur(frame, 3) for frame in frames])
    return float(np.abs(frames.astype(np.int16) - medians).mean())
