# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tool draws over the preview while it runs; panels/sketch_overlay.py shows it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..masks import outline
from .canvas_view import Point

Line = np.ndarray  # (n, 2) canvas pixels


@dataclass
class Sketch:
    """``lines`` are closed outlines, ``keep`` and ``leave`` strokes on what belongs to the object
    and what does not; all in pixels of the canvas of ``scene``."""

    scene: str
    lines: list[Line] = field(default_factory=list)
    keep: list[Line] = field(default_factory=list)
    leave: list[Line] = field(default_factory=list)


SHAPES = ("BOX", "ELLIPSE", "LASSO")
LASSO_PX = 1.0  # how far a lasso's outline may be from what was drawn
LASSO_POINTS = 48


def shape_of(kind: str, path: list[Point]) -> np.ndarray:
    """The spline that a tool of ``kind`` draws over ``path``, of which a box and an ellipse take
    the first and the last point. See ``masks.outline``."""
    points = np.array(path, float).reshape(-1, 2)
    if kind == "LASSO":
        return outline.smooth(points, LASSO_POINTS, LASSO_PX)
    low, high = points[[0, -1]].min(0), points[[0, -1]].max(0)
    make = outline.box if kind == "BOX" else outline.ellipse
    return make(*low, *high)
