# SPDX-License-Identifier: GPL-3.0-or-later
"""The noise level of every step as a picture, in the colours of the stages."""

from __future__ import annotations

import bpy
import bpy.utils.previews
import numpy as np

from ..schedule.stages import StagePlan

SIZE = 128  # pixels along each side
UNITS = 8.0  # height in the panel, in rows
BACKGROUND = (0.0, 0.0, 0.0, 0.25)
BOUNDARY = (1.0, 1.0, 1.0, 0.8)
COLOURS = 9  # of strips, in Blender's themes

_previews: bpy.utils.previews.ImagePreviewCollection | None = None
_drawn: tuple[object, ...] = ()


def register() -> None:
    global _previews
    _previews = bpy.utils.previews.new()


def unregister() -> None:
    global _previews, _drawn
    bpy.utils.previews.remove(_previews)
    _previews, _drawn = None, ()


def icon_of(stage: int) -> str:
    """The icon in the colour of the stage number ``stage``."""
    return f"STRIP_COLOR_{stage % COLOURS + 1:02d}"


def draw(
    layout: bpy.types.UILayout,
    context: bpy.types.Context,
    plan: StagePlan,
    boundary: float | None,
) -> None:
    theme = context.preferences.themes[0].strip_color
    colours = [tuple(theme[i % COLOURS].color) for i in range(len(plan.spans))]
    layout.template_icon(_upload(plan, boundary, colours), scale=UNITS)


def _upload(plan: StagePlan, boundary: float | None, colours: list[tuple[float, ...]]) -> int:
    """The picture's icon, painted only when something has changed."""
    global _drawn
    now = (tuple(plan.sigmas), [(s.start, s.stop) for s in plan.spans], boundary, colours)
    preview = _previews.get("schedule") or _previews.new("schedule")
    if now != _drawn:
        preview.image_size = (SIZE, SIZE)
        preview.image_pixels_float.foreach_set(paint(plan, boundary, colours).ravel())
        _drawn = now
    return preview.icon_id


def paint(plan: StagePlan, boundary: float | None, colours: list[tuple[float, ...]]) -> np.ndarray:
    """(SIZE, SIZE, 4) in [0, 1], lowest row first: a bar for each step from 0 up to its sigma, and
    a line at the boundary."""
    steps = len(plan.sigmas) - 1
    picture = np.empty((SIZE, SIZE, 4), np.float32)
    picture[:] = BACKGROUND
    step = np.arange(SIZE) * steps // SIZE
    heights = np.rint(np.asarray(plan.sigmas)[step] * (SIZE - 1))
    bars = np.empty((SIZE, 4), np.float32)
    for span, colour in zip(plan.spans, colours):
        bars[(step >= span.start) & (step < span.stop)] = (*colour, 1.0)
    if steps <= SIZE // 4:  # gaps between bars that are wide enough
        bars[np.flatnonzero(np.diff(step)), 3] = 0.0
    filled = np.arange(SIZE)[:, None] <= heights
    visible = filled & (bars[:, 3] > 0)
    picture[visible] = np.broadcast_to(bars, picture.shape)[visible]
    if boundary is not None:
        picture[round(boundary * (SIZE - 1))] = BOUNDARY
    return picture
