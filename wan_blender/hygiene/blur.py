# SPDX-License-Identifier: GPL-3.0-or-later
"""Light blur by a map of radii, and the radius that is just enough, found by measuring.

A radius is the deviation of a Gaussian in pixels of the generation size. It is applied to the
starlet bands: the band at frequency f is multiplied by exp(-2 pi^2 radius^2 f^2), pixel by pixel,
so radii may vary freely over the picture and a radius of 0 leaves a pixel exactly as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bands import FREQUENCY, luminance, smooth, split
from .cells import CELL, box_mean, grow, ramp, spread
from .matrix import CONTRAST, Matrix, fine_energy
from .sinks import Sink, Xywh, on_faces

MAX_RADIUS = 2.5
# Fine contrast below this is no trap; blurring further would only cost the object.
TARGET_FLOOR = 0.5 * (CONTRAST[0] + CONTRAST[1])
# Part of an object's own shape that may be lost before it stops to be what it is.
AMBIGUITY_LIMIT = 0.3
FACE_AMBIGUITY_LIMIT = 0.1
FAINT = 4 / 255  # a shape of less counts as one of that: an even print has none of its own to lose
BLOT_COVER = 0.62
PAD = 64  # pixels
STEPS = 7  # bisections: the radius is exact to 0.02 pixel


@dataclass(frozen=True)
class Softened:
    """What the closed loop found for one sink. Energies are fine contrast, root mean square."""

    sink: Sink
    radius: float  # pixels
    weight: np.ndarray  # (H, W) 0..1: where the radius applies
    before: float
    after: float
    target: float
    loss: float  # 0..1: part of the object's shape that is lost

    @property
    def limited(self) -> bool:
        """The ambiguity limit stopped the blur before the target: this sink still glows."""
        return self.after > 1.02 * self.target

    def warning(self) -> str:
        """One sentence for the panel, "" when all is well."""
        if not self.limited:
            return ""
        x, y = self.sink.box[:2]
        return (
            f"The {self.sink.kind} at {x}, {y} still has {self.after / self.target - 1:.0%} more "
            "detail than its surroundings; more blur would make it ambiguous."
        )


def soften(image: np.ndarray, radius: np.ndarray, keep_edges: bool = False) -> np.ndarray:
    """Blur ``image`` (H, W) or (H, W, C) by ``radius`` (H, W) pixels, 0..MAX_RADIUS.

    ``keep_edges`` spares the outlines of large things, so only what lies within is blurred.
    """
    if keep_edges:
        plane = image if image.ndim == 2 else luminance(image)
        radius = radius * (1 - _outlines(plane))
    if not (radius > 0).any():
        return image
    near = _around(radius > 0)
    part, square = image[near], radius[near].astype(np.float32) ** 2
    if image.ndim == 3:
        square = square[..., None]
    bands, blurred = split(part, len(FREQUENCY))
    for band, frequency in zip(bands, FREQUENCY, strict=True):
        blurred += band * np.exp(-2 * np.pi**2 * frequency**2 * square)
    out = image.copy()
    out[near] = np.where(square > 0, blurred, part)
    return out


def _around(mask: np.ndarray) -> tuple[slice, slice]:
    """The box of ``mask`` and as far around it as the coarsest band reaches."""
    reach = 2 * ((1 << len(FREQUENCY)) - 1)
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))

    def around(span: np.ndarray) -> slice:
        return slice(max(span[0] - reach, 0), span[-1] + 1 + reach)

    return around(rows), around(columns)


def _outlines(plane: np.ndarray) -> np.ndarray:
    """1 on edges that are still there at a scale of 8 pixels."""
    coarse = smooth(smooth(smooth(plane, 1), 2), 4)
    dy, dx = np.gradient(coarse)
    return ramp(np.hypot(dy, dx), 0.008, 0.02)


def loss_of_shape(before: np.ndarray, after: np.ndarray, weight: np.ndarray, size: float) -> float:
    """Part of an object's shape that ``after`` lacks, 0..1.

    Shape is what remains of the object when it is sampled about six times across its smaller side
    ``size`` (pixels): the starlet bands from there up to its whole size. It is compared inside
    ``weight``, and taken for at least ``FAINT`` (root mean square). Planes (H, W) in 0..1.
    """
    first = int(np.clip(np.round(np.log2(max(size, 1) / 6)), 0, 3))
    was, _ = split(before, first + 3)
    now, _ = split(after, first + 3)
    shape, left = sum(was[first:]), sum(now[first:])
    lost = (weight * (shape - left) ** 2).sum()
    whole = max((weight * shape**2).sum(), FAINT**2 * weight.sum())
    return float(np.sqrt(lost / (whole + 1e-9)).clip(0, 1))


def ambiguity(before: np.ndarray, after: np.ndarray, sink: Sink) -> float:
    """Part of the shape of ``sink`` that ``after`` lacks, 0..1, however it was blurred. Planes
    (H, W)."""
    part = _part(sink)
    cells = sink.cells[tuple(slice(span.start // CELL, -(-span.stop // CELL)) for span in part)]
    before, after = before[part], after[part]
    weight = _feather(grow(cells, 1) if sink.is_whole else cells, before.shape)
    return loss_of_shape(before, after, weight * (weight > 0.5), min(sink.box[2:]))


def ambiguity_warning(sink: Sink, loss: float) -> str:
    """One sentence for the panel when ``loss`` is more than the sink may lose, else ""."""
    limit = ambiguity_limit(sink)
    if loss <= limit:
        return ""
    x, y = sink.box[:2]
    return (
        f"The {sink.kind} at {x}, {y} has lost {loss:.0%} of its shape; more than {limit:.0%} "
        "makes it ambiguous. Blur it less."
    )


def ambiguity_limit(sink: Sink) -> float:
    """Part of its shape that a sink may lose."""
    return FACE_AMBIGUITY_LIMIT if sink.protected else AMBIGUITY_LIMIT


def _part(sink: Sink) -> tuple[slice, slice]:
    """The box of a sink with what its coarser bands reach; it may end outside the picture."""
    x, y, width, height = sink.box
    return slice(max(y - PAD, 0), y + height + PAD), slice(max(x - PAD, 0), x + width + PAD)


def treat(
    rgb: np.ndarray,
    matrix: Matrix,
    sinks: list[Sink],
    seed: int = 0,
    keep_edges: bool = False,
    faces: Sequence[Xywh] = (),
) -> list[Softened]:
    """For each sink the least radius that brings it to its surroundings' level, or to the limit.

    A protected sink in the list was asked for: it is treated with a third of the usual limit. Any
    other is left alone where it reaches into one of ``faces``.
    """
    plane = luminance(rgb)
    bare = 1 - _feather(grow(on_faces(faces, matrix.salience.shape), 2), plane.shape)
    treated = []
    for sink in sinks:
        weight = _weight(sink, plane.shape, seed)
        weight = weight if sink.protected else weight * bare
        treated.append(_just_enough(plane, matrix, sink, weight, keep_edges))
    return treated


def radius_map(softened: list[Softened], shape: tuple[int, int]) -> np.ndarray:
    """(H, W) radii of several regions; where they overlap the larger one counts."""
    out = np.zeros(shape, np.float32)
    for region in softened:
        np.maximum(out, region.radius * region.weight, out=out)
    return out


def _weight(sink: Sink, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Where to blur: a small object whole, a large one in irregular blots; soft edges."""
    if sink.is_whole:
        return _feather(grow(sink.cells, 1), shape)
    return _feather(sink.cells, shape) * blots(sink.cells, shape, seed)


def _feather(cells: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return spread(box_mean(cells.astype(np.float32), 1), *shape).clip(0, 1)


def blots(cells: np.ndarray, shape: tuple[int, int], seed: int) -> np.ndarray:
    """(H, W): irregular soft blots, about 30 pixels across, over ``BLOT_COVER`` of ``cells``."""
    rng = np.random.default_rng(seed)
    field = rng.normal(size=cells.shape).astype(np.float32)
    field = box_mean(box_mean(field, 2), 2)
    level, deviation = np.quantile(field[cells], 1 - BLOT_COVER), field.std() + 1e-9
    return ramp(spread((field - level) / deviation, *shape), -0.2, 0.2)


def _just_enough(
    plane: np.ndarray, matrix: Matrix, sink: Sink, weight: np.ndarray, keep_edges: bool
) -> Softened:
    part = _part(sink)
    crop, mask = plane[part], weight[part]
    target, limit = _surroundings(matrix, sink), ambiguity_limit(sink)
    core = mask * (mask > 0.5)

    def measure(radius: float) -> tuple[float, float]:
        blurred = soften(crop, radius * mask, keep_edges)
        loss = loss_of_shape(crop, blurred, core, min(sink.box[2:]))
        return _fine_contrast(blurred, core, matrix.noise), loss

    before = _fine_contrast(crop, core, matrix.noise)
    low, high = 0.0, MAX_RADIUS
    if before <= target:
        high = 0.0
    for _ in range(STEPS if high else 0):
        radius = (low + high) / 2
        contrast, loss = measure(radius)
        if contrast > target and loss <= limit:
            low = radius
        else:
            high = radius
    radius = low if measure(high)[1] > limit else high
    after, loss = measure(radius)
    return Softened(sink, radius, weight, before, after, target, loss)


def _surroundings(matrix: Matrix, sink: Sink) -> float:
    """Fine contrast of the cells around a sink that are not sinks too, at least the floor."""
    ring = grow(sink.cells, 10) & ~grow(sink.cells, 2) & (matrix.salience < 0.3)
    level = float(np.sqrt(np.mean(matrix.contrast[ring] ** 2))) if ring.any() else 0.0
    return max(level, TARGET_FLOOR)


def _fine_contrast(plane: np.ndarray, weight: np.ndarray, noise: float) -> float:
    """Root mean square fine contrast of ``plane`` under ``weight``."""
    energy, _ = fine_energy(*split(plane))
    return float(np.sqrt((energy * weight).sum() / (weight.sum() + 1e-9)))
