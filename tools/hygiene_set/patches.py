# SPDX-License-Identifier: GPL-3.0-or-later
"""Sinks and decoys as patches: ``draw(rng, height, width) -> (rgb, alpha)``, float32 in 0..1.

Patches are drawn at twice the picture's size and reduced with it, so strokes are anti-aliased.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import cv2
import numpy as np

Patch = tuple[np.ndarray, np.ndarray]
Draw = Callable[[np.random.Generator, int, int], Patch]


def tint(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """A muted colour between two brightnesses."""
    return (rng.uniform(low, high) + rng.uniform(-0.05, 0.05, 3)).clip(0, 1).astype(np.float32)


def _flat(color: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.broadcast_to(color, (height, width, 3)).astype(np.float32).copy()


def _full(rgb: np.ndarray) -> Patch:
    return rgb.clip(0, 1).astype(np.float32), np.ones(rgb.shape[:2], np.float32)


def soft_noise(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    """Smooth random field of deviation 1 whose grains are about ``scale`` pixels."""
    step = max(int(scale / 2), 1)  # a coarse field is drawn small
    field = rng.normal(size=(-(-height // step), -(-width // step))).astype(np.float32)
    if scale > 0.3:
        field = cv2.GaussianBlur(field, (0, 0), scale / step)
    if step > 1:
        field = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
    return field / (field.std() + 1e-6)


# --- sinks ---------------------------------------------------------------------------------------


def blinds(rng: np.random.Generator, height: int, width: int) -> Patch:
    period = rng.uniform(9, 20)
    y = np.arange(height)[:, None] + rng.uniform(-0.02, 0.02) * np.arange(width)[None]
    wave = ((y / period) % 1.0 < rng.uniform(0.4, 0.7)).astype(np.float32)
    light, dark = tint(rng, 0.75, 0.95), tint(rng, 0.1, 0.4)
    return _full(dark + wave[..., None] * (light - dark))


def weave(rng: np.random.Generator, height: int, width: int) -> Patch:
    """Coarse two-colour weave: visible threads that go over and under."""
    thread = int(rng.integers(5, 9))
    y, x = np.mgrid[:height, :width]
    over = ((y // thread + x // thread) % 2).astype(np.float32)
    across = np.abs((y % thread) / thread - 0.5)
    along = np.abs((x % thread) / thread - 0.5)
    shade = 1 - 0.9 * np.where(over > 0, across, along)
    a, b = tint(rng, 0.7, 0.9), tint(rng, 0.15, 0.4)
    return _full((b + over[..., None] * (a - b)) * shade[..., None])


def printed_cloth(rng: np.random.Generator, height: int, width: int) -> Patch:
    """Small print repeated over a cloth, as on a bed spread."""
    step = int(rng.integers(14, 24))
    rgb = _flat(tint(rng, 0.6, 0.85), height, width)
    ink = tint(rng, 0.1, 0.35)
    for row, y in enumerate(range(0, height + step, step)):
        for x in range(0, width + step, step):
            center = (x + (row % 2) * step // 2, y)
            cv2.circle(rgb, center, step // 3, ink.tolist(), 2, cv2.LINE_AA)
            cv2.line(rgb, (center[0] - step // 3, y), (center[0] + step // 3, y), ink.tolist(), 1)
    return _full(rgb)


def label(rng: np.random.Generator, height: int, width: int) -> Patch:
    """Lines of unreadable small letters."""
    rgb = _flat(tint(rng, 0.8, 0.97), height, width)
    ink = tint(rng, 0.02, 0.25).tolist()
    size = int(rng.integers(10, 17))
    for y in range(size, height - 2, int(size * 1.5)):
        x = 4
        while x < width - size:
            for _ in range(int(rng.integers(2, 4))):
                a = (x + int(rng.integers(0, size // 2)), y - int(rng.integers(0, size)))
                b = (x + int(rng.integers(0, size // 2)), y - int(rng.integers(0, size)))
                cv2.line(rgb, a, b, ink, 2, cv2.LINE_AA)
            x += int(size * (0.7 if rng.random() < 0.85 else 1.5))
    return _full(rgb)


def switch(rng: np.random.Generator, height: int, width: int) -> Patch:
    """A light switch or an outlet on its plate."""
    rgb = _flat(tint(rng, 0.85, 0.95), height, width)
    dark = tint(rng, 0.05, 0.3).tolist()
    cv2.rectangle(rgb, (0, 0), (width - 1, height - 1), tint(rng, 0.3, 0.5).tolist(), 3)
    middle = width // 2
    for part in (1, 3):
        y = height * part // 4
        cv2.rectangle(rgb, (middle - 8, y - 7), (middle - 4, y + 5), dark, -1)
        cv2.rectangle(rgb, (middle + 4, y - 7), (middle + 8, y + 5), dark, -1)
        cv2.circle(rgb, (middle, y + 9), 3, dark, -1, cv2.LINE_AA)
    return _full(rgb)


def knob(rng: np.random.Generator, height: int, width: int) -> Patch:
    rgb = _flat(tint(rng, 0.1, 0.3), height, width)
    alpha = np.zeros((height, width), np.float32)
    center, radius = (width // 2, height // 2), min(height, width) // 2 - 1
    cv2.circle(alpha, center, radius, 1.0, -1, cv2.LINE_AA)
    for part in (0.75, 0.45):
        cv2.circle(rgb, center, int(radius * part), tint(rng, 0.55, 0.85).tolist(), 2, cv2.LINE_AA)
    spot = (center[0] - radius // 3, center[1] - radius // 3)
    cv2.circle(rgb, spot, max(2, radius // 5), (1.0, 1.0, 1.0), -1, cv2.LINE_AA)
    return rgb, alpha


def laces(rng: np.random.Generator, height: int, width: int) -> Patch:
    """A shoe: dark oval with crossed bright laces and eyelets."""
    rgb = _flat(tint(rng, 0.08, 0.3), height, width)
    alpha = np.zeros((height, width), np.float32)
    cv2.ellipse(
        alpha, (width // 2, height // 2), (width // 2 - 2, height // 2 - 2), 0, 0, 360, 1.0, -1
    )
    lace = tint(rng, 0.75, 0.97).tolist()
    left, right = int(width * 0.25), int(width * 0.75)
    rows = np.arange(int(height * 0.2), int(height * 0.8), int(rng.integers(11, 17)))
    for y, below in itertools.pairwise(rows):
        cv2.line(rgb, (left, int(y)), (right, int(below)), lace, 3, cv2.LINE_AA)
        cv2.line(rgb, (right, int(y)), (left, int(below)), lace, 3, cv2.LINE_AA)
        cv2.circle(rgb, (left, int(y)), 3, (0.9, 0.9, 0.9), 2, cv2.LINE_AA)
        cv2.circle(rgb, (right, int(y)), 3, (0.9, 0.9, 0.9), 2, cv2.LINE_AA)
    return rgb, alpha


def teeth(rng: np.random.Generator, height: int, width: int) -> Patch:
    rgb = _flat(np.array([0.45, 0.12, 0.12], np.float32), height, width)
    alpha = np.zeros((height, width), np.float32)
    cv2.ellipse(
        alpha, (width // 2, height // 2), (width // 2 - 1, height // 2 - 1), 0, 0, 360, 1.0, -1
    )
    step = int(rng.integers(8, 13))
    for x in range(2, width - 2, step):
        top = (x, int(height * 0.25))
        cv2.rectangle(rgb, top, (x + step - 3, int(height * 0.48)), (0.95, 0.93, 0.88), -1)
        bottom = (x, int(height * 0.56))
        cv2.rectangle(rgb, bottom, (x + step - 3, int(height * 0.75)), (0.9, 0.87, 0.8), -1)
    return rgb, alpha


def hair(rng: np.random.Generator, height: int, width: int) -> Patch:
    """Long strands that run side by side, some lit."""
    base = tint(rng, 0.12, 0.3)
    rgb = _flat(base, height, width)
    flow, wave = rng.uniform(-0.4, 0.4), rng.uniform(0, 12)
    t = np.linspace(0, 1, 16)
    for _ in range(width * 2):
        x, y, length = rng.uniform(-60, width + 60), rng.uniform(-height, height), height
        path = np.stack([x + length * t * flow + wave * np.sin(4 * t), y + length * t], 1)
        color = (base * rng.uniform(0.4, 3.2)).clip(0, 1).tolist()
        cv2.polylines(rgb, [path.astype(np.int32)], False, color, int(rng.integers(1, 4)), 16)
    return _full(rgb)


def glints(rng: np.random.Generator, height: int, width: int) -> Patch:
    """Specular dots and streaks on a dark, glossy thing."""
    rgb = _flat(tint(rng, 0.12, 0.35), height, width)
    for _ in range(max(4, height * width // 900)):
        center = (int(rng.integers(2, width - 2)), int(rng.integers(2, height - 2)))
        size = (int(rng.integers(2, 7)), int(rng.integers(1, 4)))
        cv2.ellipse(rgb, center, size, float(rng.uniform(0, 180)), 0, 360, (1.0, 1.0, 0.97), -1)
    return _full(rgb)


def shelf(rng: np.random.Generator, height: int, width: int) -> Patch:
    """Many small things side by side."""
    rgb = _flat(tint(rng, 0.2, 0.4), height, width)
    x = 2
    while x < width - 12:
        w, h = int(rng.integers(9, 22)), int(height * rng.uniform(0.5, 0.9))
        cv2.rectangle(rgb, (x, height - h), (x + w, height - 2), tint(rng, 0.1, 0.95).tolist(), -1)
        y = height - int(h * rng.uniform(0.4, 0.8))
        cv2.rectangle(rgb, (x + 2, y), (x + w - 2, y + 8), tint(rng, 0.1, 0.95).tolist(), -1)
        x += w + int(rng.integers(2, 5))
    return _full(rgb)


# --- decoys --------------------------------------------------------------------------------------


def stucco(rng: np.random.Generator, height: int, width: int) -> Patch:
    grain = soft_noise(rng, height, width, rng.uniform(1.0, 3.0)) * rng.uniform(0.02, 0.1)
    return _full(_flat(tint(rng, 0.4, 0.85), height, width) + grain[..., None])


def carpet(rng: np.random.Generator, height: int, width: int) -> Patch:
    grain = soft_noise(rng, height, width, 0.8) * rng.uniform(0.05, 0.2)
    grain += soft_noise(rng, height, width, 4) * 0.02
    return _full(_flat(tint(rng, 0.25, 0.65), height, width) + grain[..., None])


def wood(rng: np.random.Generator, height: int, width: int) -> Patch:
    """Floor boards: soft grain along the boards, thin dim gaps far apart."""
    base = np.array([0.55, 0.38, 0.24], np.float32) * rng.uniform(0.7, 1.3)
    grain = cv2.GaussianBlur(
        rng.normal(size=(height, width)).astype(np.float32), (0, 0), sigmaX=18, sigmaY=1.2
    )
    rgb = _flat(base, height, width) + (grain / (grain.std() + 1e-6) * 0.025)[..., None]
    for y in range(0, height, int(rng.integers(50, 90))):
        rgb[y : y + 2] *= 0.8
    return _full(rgb)


def brick(rng: np.random.Generator, height: int, width: int) -> Patch:
    """A painted brick wall: joints far apart and little darker than the bricks."""
    rgb = _flat(tint(rng, 0.5, 0.8), height, width)
    rgb += soft_noise(rng, height, width, 1.5)[..., None] * 0.02
    course, joint = int(rng.integers(36, 56)), rng.uniform(0.78, 0.9)
    for row, y in enumerate(range(0, height, course)):
        rgb[y : y + 3] *= joint
        for x in range((row % 2) * course, width, 2 * course):
            rgb[y : y + course, x : x + 3] *= joint
    return _full(rgb)


def concrete(rng: np.random.Generator, height: int, width: int) -> Patch:
    grains = ((1, 0.015), (4, 0.02), (16, 0.03))
    field = sum(soft_noise(rng, height, width, scale) * amount for scale, amount in grains)
    return _full(_flat(tint(rng, 0.4, 0.7), height, width) + field[..., None])


def even_fabric(rng: np.random.Generator, height: int, width: int) -> Patch:
    """Plain cloth: thread texture of one colour and low contrast, with a little unevenness."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    thread = rng.uniform(3.5, 5.5)
    texture = np.sin(2 * np.pi * x / thread) * np.sin(2 * np.pi * y / thread) * 0.03
    texture += soft_noise(rng, height, width, 1.0) * 0.025
    return _full(_flat(tint(rng, 0.3, 0.75), height, width) + texture[..., None])


def tiles(rng: np.random.Generator, height: int, width: int) -> Patch:
    rgb = _flat(tint(rng, 0.65, 0.9), height, width)
    step = int(rng.integers(60, 110))
    for at in range(0, max(height, width), step):
        rgb[at : at + 3] *= 0.85
        rgb[:, at : at + 3] *= 0.85
    return _full(rgb + soft_noise(rng, height, width, 1.0)[..., None] * 0.012)


def gravel(rng: np.random.Generator, height: int, width: int) -> Patch:
    field = soft_noise(rng, height, width, rng.uniform(2.0, 4.0))
    relief = np.tanh(field) * rng.uniform(0.06, 0.16)
    return _full(_flat(tint(rng, 0.3, 0.6), height, width) + relief[..., None])


SINKS: dict[str, Draw] = {
    f.__name__: f
    for f in (
        blinds, weave, printed_cloth, label, switch, knob, laces, teeth, hair, glints, shelf
    )
}  # fmt: skip
DECOYS: dict[str, Draw] = {
    f.__name__: f
    for f in (stucco, carpet, wood, brick, concrete, even_fabric, tiles, gravel)
}  # fmt: skip
