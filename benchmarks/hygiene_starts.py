# SPDX-License-Identifier: GPL-3.0-or-later
"""Start frames for takes with and without hygiene, from the bundled model's own world.

A shape that is about to move over a calm wall with a known sink beside its path (even seeds), or
over a wall of uniform texture (odd seeds). The caption says how the shape moves, in the words that
the model was trained with.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tools.hygiene_set.patches import DECOYS, SINKS
from tools.train_nano.backgrounds import Background, random_background
from tools.train_nano.world import DIRECTIONS, Scene, Shape, random_shape, render

CALM = ("plain", "gradient", "cloudy", "speckled")
# As drawn, at twice the picture's size: (height, width) as parts of the frame's sides.
PATCH = {"switch": (0.3, 0.2), "knob": (0.15, 0.15), "teeth": (0.18, 0.4), "laces": (0.5, 0.3)}
LARGE = (0.42, 0.42)
OVER = 2
SHAPE = 0.02  # a shape differs from the wall behind it by more than this


@dataclass(frozen=True)
class Start:
    frame: np.ndarray  # (H, W, 3) float32 in 0..1
    caption: str
    thing: str  # name of the sink or texture
    has_sink: bool


def start_frame(seed: int, frames: int, width: int, height: int) -> Start:
    """The first frame of a clip of ``frames`` frames and what is said of it."""
    rng = np.random.default_rng(5000 + seed)
    direction = str(rng.choice(list(DIRECTIONS)))
    shape = random_shape(rng, frames, direction=direction)
    scene = Scene(_calm_wall(rng, frames), (shape,))
    frame = render(scene, frames, height * OVER, width * OVER)[0]
    things = SINKS if seed % 2 == 0 else DECOYS
    thing = list(things)[seed // 2 % len(things)]
    if seed % 2:
        wall = things[thing](rng, *frame.shape[:2])[0]
        empty = render(scene.without_shapes(), frames, height * OVER, width * OVER)[0]
        frame = np.where(np.abs(frame - empty).max(2, keepdims=True) > SHAPE, frame, wall)
    else:
        _put_beside(frame, shape, thing, rng)
    small = cv2.resize(frame.clip(0, 1), (width, height), interpolation=cv2.INTER_AREA)
    caption = f"{shape.sentence()} over {scene.background.phrase()}"
    return Start(small, caption, thing, seed % 2 == 0)


def _calm_wall(rng: np.random.Generator, frames: int) -> Background:
    """A background of the world without a pattern of its own that stands still."""
    while True:
        wall = random_background(rng, frames)
        if wall.texture in CALM and not wall.pan_word:
            return wall


def _put_beside(frame: np.ndarray, shape: Shape, sink: str, rng: np.random.Generator) -> None:
    """Lay a sink over ``frame`` where the shape's path leaves most room, of 40 places tried."""
    canvas = frame.shape[:2]
    size = np.array([round(p * c) for p, c in zip(PATCH.get(sink, LARGE), canvas, strict=True)])
    rgb, alpha = SINKS[sink](rng, *size)
    path = np.array([shape.place(t)[1::-1] for t in np.linspace(0, 1, 9)]) * min(canvas)
    corners = rng.integers(0, np.array(canvas) - size + 1, (40, 2))

    def room(corner: np.ndarray) -> float:
        outside = np.maximum(np.maximum(corner - path, path - corner - size), 0)
        return float(np.hypot(*outside.T).min())

    y, x = max(corners, key=room)
    place = frame[y : y + size[0], x : x + size[1]]
    place += (rgb - place) * alpha[..., None]
