# SPDX-License-Identifier: GPL-3.0-or-later
"""Attention sinks as a ranked list of regions: where, how large, what kind, how much glow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bands import luminance
from .cells import CELL, fill, grow, label, shrink
from .matrix import Matrix

KINDS = ("pattern", "small object", "specular", "text-like", "line work")
THRESHOLD = 0.3
SMALLEST_CELLS = 4
SMALL_PX = 64
WHOLE_PX = 128
GLINT = 2.8  # a glint is that much brighter than its ground
BRIDGE = 2  # cells; what is thinner than twice this joins nothing
Xywh = tuple[int, int, int, int]  # x, y, width, height in pixels


@dataclass(frozen=True)
class Sink:
    """One region. ``cells`` is its map on the 4-pixel grid of the whole picture."""

    kind: str
    box: Xywh
    area: int  # pixels
    score: float  # 0..100: how strongly it glows
    share: float  # 0..1: its part of all the glow of the picture
    protected: bool  # on a face: treated on request only, and gently
    cells: np.ndarray

    @property
    def is_whole(self) -> bool:
        """Small enough to be treated as one object; a larger one is treated in blots."""
        return max(self.box[2:]) <= WHOLE_PX


def find_sinks(rgb: np.ndarray, matrix: Matrix, faces: list[Xywh] | None = None) -> list[Sink]:
    """The sinks of a picture, largest share of the glow first.

    ``rgb`` (H, W, 3) is the picture that ``matrix`` was made from; ``faces`` are boxes in which
    sinks are protected.
    """
    plane = luminance(rgb)
    weight = matrix.salience * matrix.contrast
    total = float(weight.sum()) + 1e-9
    sinks = []
    for cells in _regions(matrix.salience > THRESHOLD):
        inside = cells & (matrix.salience > THRESHOLD)
        box = _box(cells, *plane.shape)
        sinks.append(
            Sink(
                kind=_kind(plane, matrix, inside, box),
                box=box,
                area=int(cells.sum()) * CELL * CELL,
                score=100 * float(matrix.salience[inside].mean()),
                share=float(weight[cells].sum()) / total,
                protected=is_on_face(box, faces or []),
                cells=fill(cells) if max(box[2:]) <= WHOLE_PX else cells,
            )
        )
    return sorted(sinks, key=lambda sink: -sink.share)


def _regions(hot: np.ndarray) -> list[np.ndarray]:
    """Connected parts of a cell map, parted where a thin line joins them; lone lines drop out."""
    hot = shrink(grow(hot, 1), 1)
    cores = grow(shrink(hot, BRIDGE), BRIDGE) & hot
    rest, count = label(hot & ~cores)
    for number in range(1, count + 1):
        part = rest == number
        rows, columns = part.any(1).sum(), part.any(0).sum()
        compact = max(rows, columns) * CELL <= SMALL_PX and part.sum() > 0.5 * rows * columns
        if compact and part.sum() >= SMALLEST_CELLS and not (grow(part, 1) & cores).any():
            cores |= part
    labels, count = label(cores)
    return [labels == number for number in range(1, count + 1)]


def _box(cells: np.ndarray, height: int, width: int) -> Xywh:
    rows, columns = np.flatnonzero(cells.any(1)), np.flatnonzero(cells.any(0))
    x, y = int(columns[0]) * CELL, int(rows[0]) * CELL
    right, bottom = (int(columns[-1]) + 1) * CELL, (int(rows[-1]) + 1) * CELL
    return x, y, min(right, width) - x, min(bottom, height) - y


def is_on_face(box: Xywh, faces: list[Xywh]) -> bool:
    """Whether more than half of ``box`` lies in one of ``faces``."""
    return any(_overlap(box, face) > 0.5 for face in faces)


def on_faces(faces: Sequence[Xywh], shape: tuple[int, int]) -> np.ndarray:
    """The map of cells, of this ``shape``, that one of ``faces`` touches."""
    cells = np.zeros(shape, bool)
    for x, y, width, height in faces:
        rows, columns = (
            slice(max(start, 0) // CELL, -(-max(start + size, 0) // CELL))
            for start, size in ((y, height), (x, width))
        )
        cells[rows, columns] = True
    return cells


def _overlap(box: Xywh, other: Xywh) -> float:
    """Part of ``box`` that lies in ``other``."""
    spans = [
        min(box[i] + box[i + 2], other[i] + other[i + 2]) - max(box[i], other[i]) for i in (0, 1)
    ]
    return max(spans[0], 0) * max(spans[1], 0) / (box[2] * box[3])


def _kind(plane: np.ndarray, matrix: Matrix, cells: np.ndarray, box: Xywh) -> str:
    x, y, width, height = box
    crop = plane[y : y + height, x : x + width]
    ground, bright = np.quantile(crop, (0.5, 0.998))
    lit = (crop > ground + 0.65 * (bright - ground)).mean()
    glints = bright > max(0.7, GLINT * ground) and lit < 0.1
    if glints and max(width, height) <= 2 * SMALL_PX:
        return "specular"
    if max(width, height) <= SMALL_PX:
        return "small object"
    unbroken = matrix.line[cells].mean()
    if matrix.repeat[cells].mean() > 0.5:
        strands = unbroken < 0.5 and _coherence(crop) > 0.4  # hair: one way, but never straight
        return "line work" if strands else "pattern"
    if unbroken < 0.4 and _looks_written(crop):  # letters have no long straight strokes
        return "text-like"
    return "line work"


def _coherence(crop: np.ndarray) -> float:
    """0 when edges run all ways, 1 when all run one way (structure tensor)."""
    dy, dx = np.gradient(crop)
    xx, yy, xy = ((a * b).mean() for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    return float(np.sqrt((xx - yy) ** 2 + 4 * xy * xy) / (xx + yy + 1e-9))


def _looks_written(crop: np.ndarray) -> bool:
    """Thin strokes of one ink on one ground, changing often along the rows that have any."""
    threshold = _otsu(crop)
    ink = crop < threshold
    if ink.mean() > 0.5:
        ink = ~ink
    inked = ink[ink.mean(1) > 0.05]
    if not len(inked) or ink.mean() < 0.05:
        return False
    between = ink.mean() * (1 - ink.mean()) * (crop[ink].mean() - crop[~ink].mean()) ** 2
    changes = np.abs(np.diff(inked.astype(np.int8), axis=1)).sum(1).mean() / crop.shape[1]
    return bool(between / (crop.var() + 1e-9) > 0.6 and changes > 0.11)


def _otsu(crop: np.ndarray) -> float:
    """The gray value that splits ``crop`` into two classes of least variance (Otsu 1979)."""
    counts, edges = np.histogram(crop, 64)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    moment = np.cumsum(counts * centers)
    above = below[-1] - below
    low = moment / np.maximum(below, 1)
    high = (moment[-1] - moment) / np.maximum(above, 1)
    return float(edges[1:][np.argmax(below * above * (high - low) ** 2)])
