# SPDX-License-Identifier: GPL-3.0-or-later
"""Small things on calm ground with known places: on drawn walls, and planted into photographs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from wan_blender.hygiene.bands import luminance
from wan_blender.hygiene.matrix import analyse
from wan_blender.hygiene.sinks import find_sinks

from .scenes import HEIGHT, WIDTH

CONTRASTS = (6, 10, 20, 40, 90)  # levels of 255
SIZES = {"switch": (30, 20), "outlet": (36, 24), "knob": (12, 12)}  # height, width in pixels
PHOTOGRAPHS = (
    "camera.png", "chelsea.png", "coffee.png", "rocket.jpg", "clock_motion.png", "moon.png",
    "motorcycle_left.png", "motorcycle_right.png", "retina.jpg", "page.png",
    "hubble_deep_field.jpg", "color.png",
)  # fmt: skip
ROOM = 100  # pixels of ground that is looked at around a thing


@dataclass(frozen=True)
class Thing:
    """One planted thing: its kind, the centre in pixels, and how uneven its ground is (0..1)."""

    kind: str
    x: int
    y: int
    ground: float = 0.0


def draw_wall(seed: int, contrast: float) -> tuple[np.ndarray, list[Thing]]:
    """A light wall (H, W, 3) with a pool of light, up to 1.5 levels of noise, and six things."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j].astype(np.float32)
    lamp = (x - rng.uniform(-1, 1)) ** 2 + (y - rng.uniform(-1, 1)) ** 2
    wall = rng.uniform(0.55, 0.85) * (1 - rng.uniform(0, 0.075) * lamp)
    rgb = np.repeat(wall[..., None], 3, 2).astype(np.float32)
    things = []
    for number, kind in enumerate(tuple(SIZES) * 2):
        at = 80 + 128 * number + int(rng.integers(0, 40)), int(rng.integers(70, HEIGHT - 70))
        sign = 1 if rng.random() < 0.5 else -1
        plant(rgb, kind, *at, sign * contrast / 255, rng.uniform(0.8, 1.4))
        things.append(Thing(kind, *at))
    rgb += rng.normal(0, rng.uniform(0, 1.5) / 255, rgb.shape)
    return _eight_bits(rgb), things


def photograph(name: str) -> np.ndarray:
    """(H, W, 3) of one of scikit-image's pictures, within the size at which a model works."""
    package = find_spec("skimage")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "data" / name
    rgb = cv2.imread(str(path))[..., ::-1].astype(np.float32) / 255
    scale = min(WIDTH / rgb.shape[1], HEIGHT / rgb.shape[0])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.ascontiguousarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=how))


def plant_in_photograph(name: str, contrast: float) -> tuple[np.ndarray, list[Thing]]:
    """The photograph with up to three things on its calmest grounds."""
    rgb = photograph(name)
    plane = luminance(rgb)
    things = []
    for kind, (x, y, ground) in zip(SIZES, _calm_grounds(plane), strict=False):
        sign = -1 if plane[y, x] > 0.5 else 1
        plant(rgb, kind, x, y, sign * contrast / 255, 1.0)
        things.append(Thing(kind, x, y, ground))
    return _eight_bits(rgb), things


def look(rgb: np.ndarray, things: list[Thing]) -> tuple[list[bool], int]:
    """Which things the list of sinks holds, and how many sinks there are beside them."""
    sinks = find_sinks(rgb, analyse(rgb))
    hits = [any(sink.cells[thing.y // 4, thing.x // 4] for sink in sinks) for thing in things]
    return hits, len(sinks) - sum(hits)


def plant(rgb: np.ndarray, kind: str, x: int, y: int, contrast: float, scale: float) -> None:
    """Add a thing around (x, y) in place, drawn at twice the size and reduced."""
    height, width = (int(side * scale) for side in SIZES[kind])
    tone, alpha = _draw(kind, 2 * height, 2 * width)
    part = rgb[y - height // 2 :, x - width // 2 :][:height, :width]
    part += (
        contrast
        * cv2.resize(tone * alpha, (width, height), interpolation=cv2.INTER_AREA)[..., None]
    )


def _draw(kind: str, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(tone, alpha) (H, W): a tone of 1 stands off the ground by the contrast."""
    tone, alpha = np.ones((2, height, width), np.float32)
    if kind == "switch":
        rocker = (width // 4, height // 4), (3 * width // 4, 3 * height // 4)
        cv2.rectangle(tone, *rocker, 1.5, -1)
        cv2.rectangle(tone, (width // 4, height // 2), rocker[1], 0.6, -1)
    elif kind == "outlet":
        for y in (height // 3, 2 * height // 3):
            cv2.circle(tone, (width // 2, y), height // 9, 0.5, -1)
            for x in (3 * width // 8, 5 * width // 8):
                cv2.circle(tone, (x, y), 2, -1.0, -1)
    else:
        alpha[:] = 0
        cv2.ellipse(alpha, (width // 2, height // 2), (width // 2 - 1, height // 2 - 1),
                    0, 0, 360, 1.0, -1)  # fmt: skip
        tone += 0.8 * np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    return tone, alpha


def _calm_grounds(plane: np.ndarray) -> list[tuple[int, int, float]]:
    """(x, y, mean detail up to 24 pixels) of the calmest places, far from each other."""
    fine = cv2.GaussianBlur(plane, (0, 0), 2)
    detail = np.abs(plane - fine) + np.abs(fine - cv2.GaussianBlur(fine, (0, 0), 12))
    around = cv2.boxFilter(detail, -1, (ROOM, ROOM))
    inner = np.zeros(plane.shape, bool)
    inner[60:-60, 60:-60] = True
    places = []
    for _ in SIZES:
        y, x = np.unravel_index(np.where(inner, around, np.inf).argmin(), plane.shape)
        if not inner[y, x] or around[y, x] > 0.03:
            break
        places.append((int(x), int(y), float(around[y, x])))
        inner[max(0, y - 110) : y + 110, max(0, x - 110) : x + 110] = False
    return places


def _eight_bits(rgb: np.ndarray) -> np.ndarray:
    return (np.round(rgb.clip(0, 1) * 255) / 255).astype(np.float32)
