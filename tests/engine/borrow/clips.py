# SPDX-License-Identifier: GPL-3.0-or-later
"""Shots whose clean plate is known: a painted world, a camera, an object that crosses it.

The world is drawn at twice the plate's size and each pixel averages what it covers, as a sensor
does. It is made like a photograph: colour noise whose amplitude falls as 1/f, with walls, windows,
poles and discs on it, whose edges are as sharp as a lens leaves them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

OVER = 2  # world pixels per plate pixel
Camera = Callable[[float], np.ndarray]  # frame number -> 3x3, plate pixels to world pixels


@dataclass(frozen=True)
class ClipTruth:
    """``plate`` and ``grained`` (T, H, W, C) in the plate's depth: the shot, and the same shot
    without the object, under grain of its own. ``clean`` (T, H, W, 3) float32 in 0..1 is that
    without grain. ``mask`` (T, H, W) float32; ``shown`` (T, H, W) bool are its pixels that another
    frame of the same place shows."""

    name: str
    plate: np.ndarray
    mask: np.ndarray
    shown: np.ndarray
    clean: np.ndarray
    grained: np.ndarray


@dataclass(frozen=True)
class Recipe:
    """How one shot is made; speeds in plate pixels per frame."""

    name: str
    frames: int = 24
    size: tuple[int, int] = (448, 256)  # width, height
    camera: str = "pan"
    speed: float = 6.0
    near: float = 0.0  # speed of a second, nearer layer relative to the first; 0 = none
    waves: float = 0.0  # amplitude of a background that moves by itself
    crossing: float = -5.0  # speed of the object; 0 = it stands still
    grain: float = 0.0  # standard deviation, 8-bit levels
    exposure: str = "constant"  # drift, flash
    vignette: float = 0.0
    shutter: float = 0.0  # part of a frame that the shutter is open
    cut: int = 0  # first frame of another place; 0 = none
    shadow: float = 0.0  # share of the light that the object's shadow takes
    bits: int = 8
    alpha: bool = False
    seed: int = 1


def make_clip(recipe: Recipe) -> ClipTruth:
    random = np.random.default_rng(recipe.seed)
    worlds = [paint_world(recipe, seed) for seed in (recipe.seed, recipe.seed + 100)]
    near = paint_near(recipe) if recipe.near else None
    plates, masks, cleans, graineds = [], [], [], []
    for t in range(recipe.frames):
        world = worlds[1 if recipe.cut and t >= recipe.cut else 0]
        clean = through_shutter(recipe, t, lambda now, w=world: see(recipe, w, near, now))
        body, cover = zip(*(object_at(recipe, now) for now in moments(recipe, t)))
        colour, alpha = np.mean(body, 0), np.mean(cover, 0)[..., None]
        shown = clean * (1 - recipe.shadow * shadow_at(recipe, t)[..., None])
        light = lit(recipe, t)
        clean, shown = (np.clip(p * light, 0, 1) for p in (clean, shown))
        shown = shown * (1 - alpha) + np.clip(colour * light, 0, 1) * alpha
        masks.append(cv2.dilate((alpha[..., 0] > 0.01).astype(np.float32), np.ones((5, 5))))
        cleans.append(clean.astype(np.float32))
        for pictures, picture in ((plates, shown), (graineds, clean)):
            noise = random.standard_normal(picture.shape) * recipe.grain / 255
            pictures.append(_stored(picture + noise, recipe))
    mask = np.stack(masks)
    shown = find_shown(recipe, mask, near)
    return ClipTruth(
        recipe.name, np.stack(plates), mask, shown, np.stack(cleans), np.stack(graineds)
    )


def find_shown(recipe: Recipe, mask: np.ndarray, near: np.ndarray | None) -> np.ndarray:
    """(T, H, W) bool: masked pixels whose place in the world another frame shows, whole."""
    frames = range(recipe.frames)
    speeds = [recipe.speed] + ([recipe.speed + recipe.near] if near is not None else [])
    views = [[view(recipe, t, speed) for t in frames] for speed in speeds]
    cover = np.zeros(mask.shape, np.float32)
    if near is not None:
        cover = np.stack([sample(near[..., 3], matrix, recipe) for matrix in views[1]])
    far_open = [((mask[t] == 0) & (cover[t] < 0.05)).astype(np.float32) for t in frames]
    near_open = [((mask[t] == 0) & (cover[t] > 0.95)).astype(np.float32) for t in frames]
    found = np.zeros(mask.shape, bool)
    for t in frames:
        for s in frames:
            if s == t or (recipe.cut and (s < recipe.cut) != (t < recipe.cut)):
                continue
            for opened, matrices, own in (
                (far_open, views[0], cover[t] < 0.05),
                *([(near_open, views[1], cover[t] > 0.95)] if near is not None else []),
            ):
                there = np.linalg.inv(matrices[s]) @ matrices[t]
                flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
                seen = cv2.warpPerspective(opened[s], there, recipe.size, flags=flags)
                found[t] |= (mask[t] > 0) & own & (seen > 0.99)
    return found


def _stored(picture: np.ndarray, recipe: Recipe) -> np.ndarray:
    peak = 2**recipe.bits - 1
    stored = np.rint(np.clip(picture, 0, 1) * peak).astype(f"uint{recipe.bits}")
    if recipe.alpha:
        full = np.full((*stored.shape[:2], 1), peak, stored.dtype)
        stored = np.concatenate([stored, full], 2)
    return stored


def paint_world(recipe: Recipe, seed: int) -> np.ndarray:
    """(h, w, 3) float32 in 0..1, large enough for the camera's path."""
    random = np.random.default_rng(seed)
    reach = recipe.speed * recipe.frames if recipe.camera in ("pan", "tilt") else 0
    w = int(OVER * (recipe.size[0] * 1.6 + reach))
    h = int(OVER * (recipe.size[1] * 1.6 + (reach if recipe.camera == "tilt" else 0)))
    world = 0.45 + 0.13 * fractal(random, h, w)
    for _ in range(w * h // 9000):
        _draw_thing(world, random)
    return np.clip(cv2.GaussianBlur(world, (0, 0), 0.6 * OVER), 0, 1)


def fractal(random: np.random.Generator, h: int, w: int) -> np.ndarray:
    """Noise (h, w, 3) of deviation 1 whose amplitude falls as 1/f, mostly gray."""
    frequency = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None])
    frequency[0, 0] = 1
    planes = []
    for _ in range(4):
        spectrum = np.fft.rfft2(random.standard_normal((h, w))) / frequency
        plane = np.fft.irfft2(spectrum, s=(h, w))
        planes.append((plane - plane.mean()) / plane.std())
    gray, *colours = planes
    return np.stack([0.9 * gray + 0.45 * colour for colour in colours], 2).astype(np.float32)


def _draw_thing(world: np.ndarray, random: np.random.Generator) -> None:
    h, w = world.shape[:2]
    x, y = int(random.integers(w)), int(random.integers(h))
    colour = tuple(float(c) for c in random.uniform(0.1, 0.9, 3))
    size = int(random.integers(12, 70))
    kind = random.integers(4)
    if kind == 0:  # a wall with courses
        for row in range(0, size, 10):
            cv2.rectangle(world, (x, y + row), (x + 2 * size, y + row + 7), colour, -1)
    elif kind == 1:
        cv2.circle(world, (x, y), size // 2, colour, -1, cv2.LINE_AA)
    elif kind == 2:
        cv2.line(world, (x, y), (x + size, y - 2 * size), colour, 5, cv2.LINE_AA)
    else:  # a window
        cv2.rectangle(world, (x, y), (x + size, y + size), colour, 4)
        cv2.line(world, (x + size // 2, y), (x + size // 2, y + size), colour, 3)


def paint_near(recipe: Recipe) -> np.ndarray:
    """(h, w, 4): posts and bushes of the nearer layer, straight alpha."""
    random = np.random.default_rng(recipe.seed + 7)
    reach = (recipe.speed + abs(recipe.near)) * recipe.frames
    w, h = int(OVER * (recipe.size[0] * 1.6 + reach)), int(OVER * recipe.size[1] * 1.6)
    cover = np.zeros((h, w), np.float32)
    ground = int(h * 0.68)
    cv2.rectangle(cover, (0, ground), (w, h), 1.0, -1)
    for x in range(60, w, OVER * 110):
        cv2.rectangle(cover, (x, int(h * 0.3)), (x + OVER * 26, h), 1.0, -1)
    texture = 0.4 + 0.14 * fractal(random, h, w)
    for _ in range(w * h // 6000):
        _draw_thing(texture, random)
    near = np.dstack([texture, cover])
    return np.clip(cv2.GaussianBlur(near, (0, 0), 0.6 * OVER), 0, 1)


def see(recipe: Recipe, world: np.ndarray, near: np.ndarray | None, now: float) -> np.ndarray:
    """The clean plate (H, W, 3) at time ``now`` in frames."""
    picture = sample(world, view(recipe, now, recipe.speed), recipe, waves=(recipe.waves, now))
    if near is not None:
        layer = sample(near, view(recipe, now, recipe.speed + recipe.near), recipe)
        picture = picture * (1 - layer[..., 3:]) + layer[..., :3] * layer[..., 3:]
    return picture


def view(recipe: Recipe, now: float, speed: float) -> np.ndarray:
    """3x3 from plate pixels to world pixels."""
    width, height = recipe.size
    middle = now - recipe.frames / 2
    angle, zoom, dx, dy = 0.0, 1.0, 0.0, 0.0
    if recipe.camera == "pan":
        dx, dy = speed * middle, 0.15 * speed * middle
    elif recipe.camera == "tilt":
        dy = speed * middle
    elif recipe.camera == "zoom":
        zoom = 1.012**middle
    elif recipe.camera == "rotation":
        angle = 0.012 * middle
        dx = 0.3 * speed * middle
    elif recipe.camera == "handheld":
        dx = 1.2 * speed * np.sin(0.45 * now) + 0.3 * speed * np.sin(1.7 * now + 1)
        dy = 0.8 * speed * np.sin(0.37 * now + 2) + 0.2 * speed * np.sin(2.1 * now)
        angle = 0.006 * np.sin(0.6 * now)
    c, s = np.cos(angle) / zoom, np.sin(angle) / zoom
    centre = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]])
    turn = np.array([[c, -s, dx], [s, c, dy], [0, 0, 1.0]])
    tilt = np.eye(3)
    if recipe.camera == "rotation":  # some perspective too
        tilt[2, 0] = 6e-6 * middle
    return turn @ tilt @ centre


def sample(world, matrix, recipe, waves=(0.0, 0.0)) -> np.ndarray:
    """Area averages of ``world`` over the plate's pixels."""
    width, height = recipe.size
    x, y = np.meshgrid(np.arange(width * OVER), np.arange(height * OVER))
    x, y = (x + 0.5) / OVER - 0.5, (y + 0.5) / OVER - 0.5
    amplitude, now = waves
    if amplitude:
        x = x + amplitude * np.sin(y / 23 + 0.35 * now)
        y = y + amplitude * np.sin(x / 31 - 0.27 * now)
    down = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
    at_x = (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]) / down
    at_y = (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]) / down
    h, w = world.shape[:2]
    maps = [(at * OVER + side / 2).astype(np.float32) for at, side in ((at_x, w), (at_y, h))]
    fine = cv2.remap(world, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)


def moments(recipe: Recipe, t: int) -> list[float]:
    if not recipe.shutter:
        return [float(t)]
    return [t + recipe.shutter * (i / 7 - 0.5) for i in range(8)]


def through_shutter(recipe: Recipe, t: int, picture: Callable[[float], np.ndarray]) -> np.ndarray:
    return np.mean([picture(now) for now in moments(recipe, t)], 0)


def _object_centre(recipe: Recipe, now: float) -> tuple[float, float]:
    width, height = recipe.size
    middle = now - recipe.frames / 2
    return (
        width / 2 - recipe.crossing * middle,
        height * 0.55 + (0.06 * height * np.sin(now / 3) if recipe.crossing else 0),
    )


def object_at(recipe: Recipe, now: float) -> tuple[np.ndarray, np.ndarray]:
    """Colour (H, W, 3) and cover (H, W) of a striped oval with a head on it."""
    width, height = recipe.size
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    cx, cy = _object_centre(recipe, now)
    rx, ry = 0.075 * width, 0.2 * height
    body = (1 - np.hypot((x - cx) / rx, (y - cy) / ry)) * rx
    head = 0.05 * width - np.hypot(x - cx - rx / 3, y - cy + ry * 1.1)
    cover = np.clip(np.maximum(body, head) + 0.5, 0, 1)
    stripes = 0.5 + 0.35 * np.sin((x - cx) * 0.5 + (y - cy) * 0.2)
    return np.stack([stripes, 0.3 * stripes + 0.1, 0.8 - 0.5 * stripes], 2), cover


def shadow_at(recipe: Recipe, t: int) -> np.ndarray:
    width, height = recipe.size
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    cx, cy = _object_centre(recipe, t)
    far = np.hypot((x - cx - 0.1 * width) / (0.16 * width), (y - cy - 0.2 * height) / 14)
    return np.clip((1.15 - far) * 4, 0, 1)


def lit(recipe: Recipe, t: int) -> np.ndarray:
    """Factor (H, W, 1) on the encoded values: exposure and vignette."""
    width, height = recipe.size
    factor = 1.0
    if recipe.exposure == "drift":
        factor = 1 + 0.25 * np.sin(t / 4)
    if recipe.exposure == "flash" and t == recipe.frames // 2:
        factor = 1.8
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    return (factor * (1 - recipe.vignette * (x**2 + y**2) / 2))[..., None]


RECIPES = [
    Recipe("pan"),
    Recipe("tilt", camera="tilt", speed=4),
    Recipe("zoom", camera="zoom"),
    Recipe("rotation", camera="rotation"),
    Recipe("handheld", camera="handheld", speed=8, crossing=7),
    Recipe("pan, grain", grain=2.5),
    Recipe("pan, 16 bit", bits=16, grain=0.5),
    Recipe("pan, exposure drifts", exposure="drift", grain=1),
    Recipe("pan, flash", exposure="flash", grain=1),
    Recipe("pan, vignette", vignette=0.35, grain=1),
    Recipe("pan, motion blur", shutter=0.5, grain=1),
    Recipe("pan, camera follows", crossing=4, grain=1),
    Recipe("static camera", camera="static", grain=1),
    Recipe("cut", cut=12, grain=1),
    Recipe("two layers", near=4, grain=1),
    Recipe("two layers, slow", speed=2, near=1.2, grain=1),
    Recipe("moving background", camera="static", waves=3, grain=1),
]


def short(recipe: Recipe, frames: int = 12) -> Recipe:
    """The same kind of shot, small enough for a test."""
    return replace(recipe, frames=frames, size=(224, 128), crossing=recipe.crossing * 0.8)
