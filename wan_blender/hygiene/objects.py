# SPDX-License-Identifier: GPL-3.0-or-later
"""Small things that stand alone on calm ground: a light switch, an outlet, a knob, a picture hook.

Their contrast may be a few levels of 255, far below what counts as fine detail elsewhere, and
still they are the only thing there to hold on to. What gives them away is not how strong their
detail is but how much stronger than that of the ground around them: each cell of 4 pixels is
compared with the median of its surroundings, in units of their median absolute deviation, which a
small thing hardly moves. Texture raises that deviation and hides nothing but itself.
"""

from __future__ import annotations

import numpy as np

from .bands import split
from .cells import fill, grow, label, ramp, shrink, to_cells

REACH = 5  # samples each way of a window
STEPS = (1, 2, 3)  # cells between samples: windows of 44, 84 and 124 pixels
LARGEST = (8, 14, 20)  # cells; what is wider hardly leaves the window a ground of its own
CLOSE = (1, 2, 2)  # cells by which gaps in an outline are closed
SMALLEST = 4  # cells
EDGE, CORE = 3.0, 6.0  # deviations over the ground: all of an outline, and its strongest cell
FLOOR = 0.2 / 255  # deviation of a ground without any noise, as rounding to 8 bits leaves it
CALM = 0.6  # the ground's detail over the thing's own, at most
FILLED = 0.5  # of the box
SLIM = 3.0  # long side over short side, at most: a line is something else


def lone_objects(plane: np.ndarray) -> np.ndarray:
    """Cells (ceil(H/4), ceil(W/4)) float32 of a luminance ``plane`` (H, W) in 0..1.

    0 outside small things on calm ground, above 0 on them, 1 where their outline is clear.
    """
    _, middle, coarse = split(plane)[0]
    detail = np.sqrt(to_cells(middle * middle + coarse * coarse))
    clear = np.zeros_like(detail)
    for step, largest, close in zip(STEPS, LARGEST, CLOSE, strict=True):
        ground = _median(detail, step)
        spread = 1.4826 * _median(np.abs(detail - ground), step)
        height = (detail - ground) / (spread + FLOOR)
        for thing in _things(height, detail, largest, close):
            if not (clear[thing] > 0).any():
                clear[thing] = np.maximum(ramp(height, EDGE, 2 * CORE)[thing], 0.5)
    return clear


def _median(cells: np.ndarray, step: int) -> np.ndarray:
    """Median of 11x11 samples around each cell, of which every ``step``-th is taken."""
    coarse = np.pad(cells[::step, ::step], REACH, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(coarse, (2 * REACH + 1, 2 * REACH + 1))
    middle = np.median(windows, axis=(-2, -1)).astype(cells.dtype)
    rows, columns = cells.shape
    return middle.repeat(step, 0)[:rows].repeat(step, 1)[:, :columns]


def _things(height: np.ndarray, detail: np.ndarray, largest: int, close: int) -> list[np.ndarray]:
    """Maps of compact outlines whose ground is calm and in view on all sides."""
    labels, count = label(shrink(grow(height > EDGE, close), close))
    things = []
    for number in range(1, count + 1):
        outline = labels == number
        rows, columns = np.flatnonzero(outline.any(1)), np.flatnonzero(outline.any(0))
        sides = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
        at_border = rows[0] == 0 or columns[0] == 0
        at_border |= rows[-1] == len(height) - 1 or columns[-1] == height.shape[1] - 1
        if at_border or max(sides) > min(largest, SLIM * min(sides)):
            continue
        thing = fill(outline)
        if thing.sum() < max(SMALLEST, FILLED * sides[0] * sides[1]):
            continue
        ring = grow(thing, 4) & ~grow(thing, 1)
        calm = np.quantile(detail[ring], 0.85) <= CALM * np.quantile(detail[thing], 0.8)
        if calm and height[outline].max() >= CORE:
            things.append(thing)
    return things
