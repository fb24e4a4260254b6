# SPDX-License-Identifier: GPL-3.0-or-later
"""The procedural world the nano model is trained and measured on: scenes, pictures, captions.

Everything follows from a `numpy.random.Generator`, so a seed is a data set. Lengths are fractions
of the shorter side of the frame, angles are radians, time runs 0..1 over the clip.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

import numpy as np

from .backgrounds import Background, draw_background, random_background, square_wave

KINDS = ("ball", "box", "triangle", "star", "ring")
HUES = {
    "red": 0,
    "orange": 30,
    "yellow": 56,
    "green": 120,
    "cyan": 180,
    "blue": 225,
    "purple": 272,
    "pink": 322,
}  # degrees
PATTERNS = ("", "striped", "checked")
PATTERN_GAIN = 0.58  # of a pattern's dark parts: they stay as vivid as `vision` asks
RADII = {"small": (0.12, 0.15), "": (0.16, 0.20), "large": (0.22, 0.27)}
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
SYNONYMS = {
    "ball": ("sphere", "circle", "disc"),
    "box": ("cube", "square", "block"),
    "ring": ("donut", "hoop"),
    "star": ("star shape",),
    "purple": ("violet",),
    "pink": ("magenta",),
    "cyan": ("turquoise",),
    "small": ("tiny", "little"),
    "large": ("big", "huge"),
    "grey": ("gray",),
    "shiny": ("glossy",),
    "striped": ("stripy",),
    "turns": ("spins", "rotates"),
    "woven": ("fabric",),
    "wall": ("background",),
}
_VERBS = ("moves", "moves", "slides", "drifts", "rolls")
_ACTS = ("turns", "grows", "shrinks", "stays still")


@dataclass(frozen=True)
class Shape:
    """One thing in the scene; `centre` is where it is at mid-clip, `travel` its way in the clip."""

    kind: str
    colour: str
    size: str
    shiny: bool
    radius: float
    centre: tuple[float, float]
    travel: tuple[float, float]
    angle: float
    spin: float
    growth: float
    act: str
    rgb: tuple[float, float, float]
    pattern: str = ""

    def place(self, time: float) -> tuple[float, float, float, float]:
        """Centre x, y, radius and angle at `time` in 0..1."""
        s = time - 0.5
        return (
            self.centre[0] + self.travel[0] * s,
            self.centre[1] + self.travel[1] * s,
            self.radius * (1.0 + self.growth * s),
            self.angle + self.spin * s,
        )

    def phrase(self) -> str:
        words = [self.size, "shiny" if self.shiny else "", self.colour, self.pattern, self.kind]
        words = [word for word in words if word]
        article = "an" if words[0][0] in "aeiou" else "a"
        return f"{article} {' '.join(words)}"

    def sentence(self) -> str:
        return f"{self.phrase()} {self.act}".strip()


@dataclass(frozen=True)
class Scene:
    """A background and the shapes over it, the last shape nearest to the camera."""

    background: Background
    shapes: tuple[Shape, ...]

    def without_shapes(self) -> Scene:
        return replace(self, shapes=())


def random_shape(
    rng: np.random.Generator,
    frames: int,
    colour: str | None = None,
    kind: str | None = None,
    direction: str | None = None,
    pattern: str | None = None,
) -> Shape:
    """A random shape whose motion suits a clip of `frames` frames; fixed words where given.

    Half of those that do not shine have a pattern.
    """
    kind = kind or str(rng.choice(KINDS))
    colour = colour or str(rng.choice(list(HUES)))
    size = str(rng.choice(list(RADII), p=(0.25, 0.45, 0.30)))
    radius = rng.uniform(*RADII[size])
    travel, growth, spin, angle = (0.0, 0.0), 0.0, 0.0, rng.uniform(-0.25, 0.25)
    if direction or rng.random() < 0.7:
        word = direction or str(rng.choice(list(DIRECTIONS)))
        verb = str(rng.choice(_VERBS)) if kind in ("ball", "ring") else str(rng.choice(_VERBS[:4]))
        act = f"{verb} {word}"
        step = rng.uniform(0.022, 0.034)
        dx, dy = DIRECTIONS[word]
        travel = (dx * step * (frames - 1), dy * step * (frames - 1))
        if verb == "rolls":
            spin = dx * step * (frames - 1) / radius
    else:
        act = str(rng.choice(_ACTS))
        growth = {"grows": 0.6, "shrinks": -0.6}.get(act, 0.0)
        spin = rng.choice((-1, 1)) * 0.12 * (frames - 1) if act == "turns" else 0.0
    margin = min(0.45, radius + 0.02)
    centre = tuple(
        rng.uniform(low, 1.0 - low) if low < 0.5 else 0.5
        for low in (margin + abs(t) / 2.4 for t in travel)
    )
    rgb = colorsys.hsv_to_rgb(
        (HUES[colour] + rng.uniform(-6, 6)) / 360 % 1.0,
        rng.uniform(0.82, 1.0),
        rng.uniform(0.80, 1.0),
    )
    shiny, pattern = _finish(rng, pattern)
    return Shape(
        kind,
        colour,
        size,
        shiny,
        float(radius),
        centre,
        travel,
        float(angle),
        float(spin),
        growth,
        act,
        rgb,
        pattern,
    )


def _finish(rng: np.random.Generator, pattern: str | None) -> tuple[bool, str]:
    """Does it shine, and what pattern has it? Never both."""
    shiny = bool(rng.random() < 0.3)
    if pattern is None:
        drawn = str(rng.choice(PATTERNS, p=(0.5, 0.25, 0.25)))
        pattern = "" if shiny else drawn
    return shiny and not pattern, pattern


def random_scene(rng: np.random.Generator, frames: int) -> Scene:
    """0 (12 %), 1 (66 %) or 2 (22 %) shapes over a random background."""
    count = int(rng.choice((0, 1, 2), p=(0.12, 0.66, 0.22)))
    shapes = tuple(random_shape(rng, frames) for _ in range(count))
    return Scene(random_background(rng, frames), shapes)


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A plain English description; parts are left out or said differently, as people do."""
    place = scene.background.phrase()
    if not scene.shapes:
        text = str(
            rng.choice(
                (
                    f"an empty {place.split(' ', 1)[1]}",
                    "empty background",
                    "an empty background",
                    "empty background",
                    f"nothing but {place}",
                    "nothing",
                )
            )
        )
        return _reworded(text, rng)
    text = " and ".join(
        shape.sentence() if rng.random() < 0.85 else shape.phrase() for shape in scene.shapes[::-1]
    )
    if rng.random() < 0.6:
        text += f" {rng.choice(('over', 'over', 'on', 'in front of'))} {place}"
    if scene.background.pan_word and rng.random() < 0.8:
        text += f", the camera pans {scene.background.pan_word}"
    return _reworded(text, rng)


def _reworded(text: str, rng: np.random.Generator) -> str:
    words = [
        str(rng.choice(SYNONYMS[word])) if word in SYNONYMS and rng.random() < 0.2 else word
        for word in text.split(" ")
    ]
    if rng.random() < 0.1:
        words.insert(0, str(rng.choice(("a video of", "there is", "only", "a clip of"))))
    return " ".join(words)


def render(scene: Scene, frames: int, height: int, width: int) -> np.ndarray:
    """The clip as float32 (frames, height, width, 3), RGB in 0..1."""
    clip = np.empty((frames, height, width, 3), np.float32)
    for index in range(frames):
        time = index / max(frames - 1, 1)
        frame = draw_background(scene.background, time, height, width)
        for shape in scene.shapes:
            alpha, shade = cover(shape, time, height, width)
            paint = np.clip(np.asarray(shape.rgb, np.float32) * shade[0] + shade[1], 0, 1)
            frame += alpha[..., None] * (paint - frame)
        clip[index] = frame
    return clip


def cover(
    shape: Shape, time: float, height: int, width: int
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Coverage (height, width) in 0..1 with a one-pixel edge, and the shading (gain, highlight)."""
    unit = min(height, width)
    cx, cy, radius, angle = shape.place(time)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5
    x = (xs - cx * width) / (radius * unit)
    y = (ys - cy * height) / (radius * unit)
    c, s = np.cos(angle), np.sin(angle)
    u, v = c * x + s * y, c * y - s * x
    alpha = np.clip(0.5 - distance(shape.kind, u, v) * radius * unit, 0.0, 1.0)
    if shape.pattern:
        return alpha, (pattern_gain(shape.pattern, u, v, radius * unit)[..., None], np.float32(0.0))
    if not shape.shiny:
        return alpha, (np.float32(1.0), np.float32(0.0))
    light = (x + 0.35) ** 2 + (y + 0.35) ** 2
    gain = np.clip(1.05 - 0.28 * light, 0.45, 1.0)[..., None]
    return alpha, (gain, 0.65 * np.exp(-light / 0.06)[..., None])


def pattern_gain(pattern: str, u: np.ndarray, v: np.ndarray, pixels: float) -> np.ndarray:
    """What a pattern leaves of the colour at u, v, in radii of `pixels`; it turns with it."""
    bright = square_wave(u + 0.17, 0.68, pixels)
    if pattern == "checked":
        u, v = square_wave(u + 0.22, 0.9, pixels), square_wave(v + 0.22, 0.9, pixels)
        bright = u + v - 2 * u * v
    return PATTERN_GAIN + (1 - PATTERN_GAIN) * bright


def distance(kind: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Signed distance to a unit shape (negative inside), exact near straight and round edges."""
    if kind == "ball":
        return np.hypot(u, v) - 1.0
    if kind == "ring":
        return np.abs(np.hypot(u, v) - 0.78) - 0.26
    if kind == "box":
        return np.maximum(np.abs(u), np.abs(v)) - 0.86
    if kind == "triangle":
        return np.maximum(v - 0.62, np.abs(u) * 0.866 - v * 0.5 - 0.56)
    return _star(u, v)


def _star(u: np.ndarray, v: np.ndarray, points: int = 5, inner: float = 0.44) -> np.ndarray:
    """Fold the plane into half a point of the star; there the outline is one straight edge."""
    sector = np.pi / points
    turn = np.arctan2(u, -v)
    fold = np.abs((turn + sector) % (2 * sector) - sector)
    r = np.hypot(u, v)
    x, y = r * np.sin(fold), r * np.cos(fold)
    ax, ay = 0.0, 1.12
    bx, by = inner * 1.12 * np.sin(sector), inner * 1.12 * np.cos(sector)
    normal = np.array((ay - by, bx - ax))
    normal /= np.linalg.norm(normal)
    return (x - ax) * normal[0] + (y - ay) * normal[1]
