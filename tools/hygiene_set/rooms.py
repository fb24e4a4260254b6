# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole scenes to look at: what should glow and what should stay dark stand together."""

from __future__ import annotations

import cv2
import numpy as np

from . import patches
from .patches import soft_noise, tint
from .scenes import HEIGHT, OVER, WIDTH, Picture, Region, camera, paste

H, W = HEIGHT * OVER, WIDTH * OVER


class Scene:
    """A canvas of twice the picture's size that remembers what was put where."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.canvas = np.zeros((H, W, 3), np.float32)
        self.regions: list[Region] = []

    def put(self, name: str, x: int, y: int, width: int, height: int) -> None:
        """Draw a named sink or decoy with its corner at (x, y) and label it."""
        is_sink = name in patches.SINKS
        draw = (patches.SINKS if is_sink else patches.DECOYS)[name]
        mask = paste(self.canvas, draw(self.rng, height, width), x, y)
        self.regions.append(Region(name, is_sink, mask))

    def fill(self, corners: list[tuple[int, int]], color: np.ndarray) -> None:
        cv2.fillPoly(self.canvas, [np.array(corners)], color.tolist(), cv2.LINE_AA)

    def shade(self, x: int, y: int, spread: float, amount: float) -> None:
        """A soft pool of light or, with a negative amount, a soft shadow."""
        yy, xx = np.mgrid[:H, :W]
        pool = np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * spread**2))
        self.canvas *= (1 + amount * pool)[..., None].astype(np.float32)

    def picture(self) -> Picture:
        free = ~np.any([r.mask for r in self.regions if r.is_sink], axis=0)
        regions = [r if r.is_sink else Region(r.name, False, r.mask & free) for r in self.regions]
        return Picture(camera(self.rng, self.canvas), regions)


def bedroom(seed: int = 0) -> Picture:
    """Stucco wall, board floor, blinds, switch and outlet, dresser knobs, bed spread, shoes."""
    s = Scene(seed)
    s.put("stucco", 0, 0, W, 640)
    s.put("wood", 0, 640, W, H - 640)
    s.canvas[622:644] = tint(s.rng, 0.8, 0.9)
    s.put("blinds", 160, 70, 330, 300)
    s.put("switch", 640, 300, 44, 70)
    s.put("switch", 1540, 560, 40, 56)
    wood = np.array([0.36, 0.24, 0.16], np.float32)
    s.fill([(60, 450), (500, 450), (500, 760), (60, 760)], wood)
    for y in (480, 575, 670):
        s.fill([(76, y), (484, y), (484, y + 76), (76, y + 76)], wood * 1.2)
        for x in (170, 370):
            s.put("knob", x, y + 24, 30, 30)
    s.fill([(780, 330), (1500, 330), (1500, 520), (780, 520)], tint(s.rng, 0.25, 0.35))
    s.put("printed_cloth", 760, 480, 760, 300)
    s.put("laces", 560, 790, 90, 150)
    s.put("laces", 665, 800, 90, 150)
    s.shade(1100, 200, 380, 0.35)
    s.shade(1100, 820, 300, -0.35)
    return s.picture()


def portrait(seed: int = 1) -> Picture:
    """A head with hair, eyes and teeth, a denim jacket with folds, a name tag, a plain wall."""
    s = Scene(seed)
    rng = s.rng
    s.put("concrete", 0, 0, W, H)
    s.put("hair", 600, 60, 460, 420)
    skin = np.array([0.78, 0.58, 0.48], np.float32)
    cv2.ellipse(s.canvas, (830, 340), (165, 220), 0, 0, 360, skin.tolist(), -1, cv2.LINE_AA)
    s.shade(770, 300, 160, 0.12)
    for x in (765, 895):
        cv2.ellipse(s.canvas, (x, 310), (34, 15), 0, 0, 360, (0.95, 0.95, 0.93), -1, cv2.LINE_AA)
        cv2.circle(s.canvas, (x, 310), 14, (0.25, 0.16, 0.1), -1, cv2.LINE_AA)
        cv2.circle(s.canvas, (x, 310), 6, (0.03, 0.03, 0.03), -1, cv2.LINE_AA)
        cv2.circle(s.canvas, (x - 4, 305), 3, (1.0, 1.0, 1.0), -1, cv2.LINE_AA)
        cv2.ellipse(s.canvas, (x, 278), (44, 14), 0, 190, 350, (0.2, 0.12, 0.08), 8, cv2.LINE_AA)
    cv2.line(s.canvas, (830, 330), (818, 395), (skin * 0.8).tolist(), 6, cv2.LINE_AA)
    s.put("teeth", 780, 440, 100, 42)
    denim = np.array([0.24, 0.32, 0.47], np.float32)
    shoulders = [(430, H), (520, 640), (700, 560), (960, 560), (1150, 640), (1240, H)]
    jacket = np.zeros((H, W), np.float32)
    cv2.fillPoly(jacket, [np.array(shoulders)], 1.0, cv2.LINE_AA)
    cloth = denim * (1 + 0.1 * soft_noise(rng, H, W, 1.0)[..., None])
    for _ in range(26):
        start = rng.uniform((480, 620), (1180, 900))
        path = start + np.cumsum(rng.normal((14, 10), (10, 16), (12, 2)), 0)
        shade = float(rng.choice([0.55, 1.5]))
        cv2.polylines(cloth, [path.astype(np.int32)], False, (denim * shade).tolist(), 5, 16)
    s.canvas += (cv2.GaussianBlur(cloth, (0, 0), 1.5) - s.canvas) * jacket[..., None]
    s.put("label", 960, 740, 150, 70)
    return s.picture()


def kitchen(seed: int = 2) -> Picture:
    """Tiled wall, shelf of jars, pans with glints, boxes with print, plain counter."""
    s = Scene(seed)
    s.put("tiles", 0, 0, W, 620)
    s.put("stucco", 0, 620, W, H - 620)
    s.put("shelf", 120, 120, 620, 120)
    s.put("shelf", 120, 300, 620, 110)
    for y in (244, 414):
        s.fill([(100, y), (760, y), (760, y + 16), (100, y + 16)], tint(s.rng, 0.3, 0.4))
    s.put("glints", 960, 180, 130, 130)
    s.put("glints", 1150, 190, 110, 110)
    s.put("label", 260, 560, 160, 120)
    s.put("label", 520, 580, 130, 100)
    s.put("weave", 980, 680, 420, 160)
    s.put("switch", 1480, 380, 56, 60)
    s.shade(500, 560, 400, 0.2)
    return s.picture()


ROOMS = {f.__name__: f for f in (bedroom, portrait, kitchen)}
