# SPDX-License-Identifier: GPL-3.0-or-later
"""Walls and cloths behind the shapes: muted colours, several textures, an optional camera pan."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

# hue in degrees, saturation, value; muted, so that a shape's colour is never a wall's
TONES = {
    "white": (0, 0.00, 0.94),
    "grey": (0, 0.00, 0.55),
    "black": (0, 0.00, 0.10),
    "beige": (40, 0.22, 0.86),
    "brown": (25, 0.40, 0.42),
    "pale blue": (210, 0.22, 0.85),
    "dark blue": (225, 0.45, 0.30),
    "pale green": (120, 0.20, 0.82),
    "dark green": (130, 0.40, 0.30),
    "pale pink": (340, 0.18, 0.90),
}
TEXTURES = ("plain", "gradient", "striped", "checked", "cloudy", "speckled", "woven")
STRUCTURED = ("striped", "checked", "woven")  # what is seen of them tells the rest
_PANS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}


@dataclass(frozen=True)
class Background:
    """`period` is a fraction of the shorter side; so is `pan`, the picture's travel in the clip."""

    texture: str
    tone: str
    place: str
    light: tuple[float, float, float]
    dark: tuple[float, float, float]
    angle: float
    period: float
    phase: float
    pan: tuple[float, float]
    pan_word: str
    seed: int

    def phrase(self) -> str:
        texture = "" if self.texture == "plain" else f"{self.texture} "
        return f"a {self.tone} {texture}{self.place}"


def random_background(
    rng: np.random.Generator, frames: int, texture: str | None = None
) -> Background:
    """A wall, floor or cloth; a quarter of them pan. A fixed texture where one is given."""
    drawn = str(rng.choice(TEXTURES, p=(0.22, 0.18, 0.16, 0.14, 0.12, 0.08, 0.10)))
    texture = texture or drawn
    tone = str(rng.choice(list(TONES)))
    hue, saturation, value = TONES[tone]
    value = float(np.clip(value + rng.uniform(-0.05, 0.05), 0.05, 1.0))
    contrast = rng.uniform(0.10, 0.32)
    other = value - contrast if value > 0.5 else value + contrast
    light = colorsys.hsv_to_rgb(hue / 360, saturation, value)
    dark = colorsys.hsv_to_rgb(hue / 360, saturation, float(np.clip(other, 0.0, 1.0)))
    pan, pan_word = (0.0, 0.0), ""
    if texture != "plain" and rng.random() < 0.25:
        pan_word = str(rng.choice(list(_PANS)))
        travel = rng.uniform(0.008, 0.020) * (frames - 1)
        # a camera that pans left sees the wall move right
        pan = (-_PANS[pan_word][0] * travel, -_PANS[pan_word][1] * travel)
    angle = float(rng.choice((0.0, np.pi / 2, np.pi / 4, -np.pi / 4)) + rng.normal(0, 0.04))
    return Background(
        texture,
        tone,
        str(rng.choice(("wall", "wall", "floor", "cloth"))),
        light,
        dark,
        angle,
        float(rng.uniform(0.10, 0.30)),
        float(rng.random()),
        pan,
        pan_word,
        int(rng.integers(1 << 31)),
    )


def draw_background(ground: Background, time: float, height: int, width: int) -> np.ndarray:
    """One frame (height, width, 3) float32 in 0..1, `time` in 0..1."""
    unit = min(height, width)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5
    x = xs / unit - ground.pan[0] * time
    y = ys / unit - ground.pan[1] * time
    weight = _WEIGHTS[ground.texture](ground, x, y, unit)[..., None]
    light, dark = np.float32(ground.light), np.float32(ground.dark)
    return (dark + weight * (light - dark)).astype(np.float32)


def _turned(ground: Background, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    c, s = np.cos(ground.angle), np.sin(ground.angle)
    return c * x + s * y, c * y - s * x


def square_wave(u: np.ndarray, period: float, unit: float) -> np.ndarray:
    """0/1 stripes with one-pixel edges: a triangle wave, steepened and clipped."""
    triangle = np.abs((u / period) % 1.0 - 0.5) - 0.25
    return np.clip(triangle * period * unit + 0.5, 0.0, 1.0)


def _plain(ground: Background, x: np.ndarray, y: np.ndarray, unit: int) -> np.ndarray:
    return np.ones_like(x)


def _gradient(ground: Background, x: np.ndarray, y: np.ndarray, unit: int) -> np.ndarray:
    u, _ = _turned(ground, x - 0.5, y - 0.5)
    return np.clip(0.5 + u, -0.2, 1.2)


def _striped(ground: Background, x: np.ndarray, y: np.ndarray, unit: int) -> np.ndarray:
    u, _ = _turned(ground, x, y)
    return square_wave(u + ground.phase, ground.period, unit)


def _checked(ground: Background, x: np.ndarray, y: np.ndarray, unit: int) -> np.ndarray:
    u, v = _turned(ground, x, y)
    a = square_wave(u + ground.phase, ground.period * 1.4, unit)
    b = square_wave(v + ground.phase, ground.period * 1.4, unit)
    return a + b - 2 * a * b


def _woven(ground: Background, x: np.ndarray, y: np.ndarray, unit: int) -> np.ndarray:
    u, v = _turned(ground, x, y)
    period = ground.period * 0.5
    a = 0.5 + 0.5 * np.sin(2 * np.pi * u / period)
    b = 0.5 + 0.5 * np.sin(2 * np.pi * v / period)
    over = square_wave(u + v, 2 * period, unit)
    return a * over + b * (1 - over)


def _sampled(grid: np.ndarray, x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
    return cv2.remap(
        grid,
        (x * scale).astype(np.float32),
        (y * scale).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )


def _cloudy(ground: Background, x: np.ndarray, y: np.ndarray, unit: int) -> np.ndarray:
    grid = np.random.default_rng(ground.seed).random((16, 16), np.float32)
    return _sampled(grid, x, y, 0.8 / ground.period)


def _speckled(ground: Background, x: np.ndarray, y: np.ndarray, unit: int) -> np.ndarray:
    grid = np.random.default_rng(ground.seed).random((64, 64), np.float32)
    grid = cv2.GaussianBlur(np.tile(grid, (3, 3)), (3, 3), 0.8)[64:128, 64:128]
    return _sampled(np.ascontiguousarray(grid), x, y, 24.0)


_WEIGHTS = {
    "plain": _plain,
    "gradient": _gradient,
    "striped": _striped,
    "checked": _checked,
    "cloudy": _cloudy,
    "speckled": _speckled,
    "woven": _woven,
}
