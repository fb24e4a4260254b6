# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix view: where a picture holds fine detail that a video model may never settle.

Fine detail glows where it stands alone (a switch, a knob, laces on a shoe) or runs on in unbroken
lines (blinds, weave, hair). Texture that is the same everywhere around stays dark, however fine:
walls, floors, grain. What decides is measured on cells of 4 pixels:

    contrast   energy of the bands over the local brightness, sensor noise taken off
    isolation  that energy against the energy of the surroundings
    structure  unbroken lines survive averaging along them, strokes stand on a calm ground, patterns
               have a few strong frequencies; random texture does none of this
    lone       one clean edge (a door frame, a horizon) is fine detail but no trap
    objects    a small thing on calm ground counts at any contrast (see ``objects``)
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from .bands import NOISE_GAIN, luminance, split
from .cells import CELL, box_mean, label, lerp, ramp, spread, to_cells
from .objects import lone_objects

BAND_WEIGHT = (1.0, 0.8, 0.5)
# Fine contrast (root of weighted band energy over brightness) where detail starts to count and
# where it is as strong as it gets.
CONTRAST = (0.018, 0.07)
TEXTURE_CONTRAST = 0.1  # what the strongest uniform texture has
ISOLATION = (1.5, 3.0)
TINY = 0.8
LINE = (0.42, 0.65)
SPARSE = (4.0, 6.0)
UNEVEN = (1.1, 1.6)
REPEAT = (0.022, 0.034)
BLOCK = 64
CALMEST = 1.33  # deviation of white noise over its calmest tenth of 4x4 cells
GREEN, RED = 5.0, 60.0
GLOW_GAIN = 4.0
UNIFORM_LEVEL = 0.18
MISSED = 0.5  # salience that fine detail alone gives a thing, below which it is taken for missed
LONE_GLOW, MOST_LIFT = 0.5, 10.0  # glow of a faint thing on calm ground, and how far it is raised


# First step and second step (dy, dx) of eight directions; the third step is twice the second.
_DIRECTIONS = (
    ((0, 1), (0, 2)),
    ((0, 1), (1, 2)),
    ((1, 1), (2, 2)),
    ((1, 0), (2, 1)),
    ((1, 0), (2, 0)),
    ((1, 0), (2, -1)),
    ((1, -1), (2, -2)),
    ((1, -1), (1, -2)),
)


@dataclass(frozen=True)
class Matrix:
    """What the analysis found. Planes are (H, W), cell maps (ceil(H/4), ceil(W/4)); all float32."""

    glow: np.ndarray  # the view, 0..1
    contrast: np.ndarray  # cells: fine contrast, noise taken off
    isolation: np.ndarray  # cells: contrast over that of the surroundings, 1 = uniform
    line: np.ndarray  # cells: 0 random .. 1 unbroken straight lines
    repeat: np.ndarray  # cells: 0 random .. 1 a pattern that repeats
    salience: np.ndarray  # cells: 0 leave alone .. 1 sink
    lone: np.ndarray  # cells: 0 .. 1 clear outline of a faint small thing on calm ground
    lift: np.ndarray  # cells: 1, more where a faint thing on calm ground is made visible
    noise: float  # estimated deviation of the sensor noise, 0..1

    @property
    def score(self) -> float:
        """0..100: how much of the picture sinks take up; a tenth of it at contrast 0.1 gives 63."""
        load = self.salience * np.minimum(self.contrast / 0.1, 1.5)
        return float(100 * (1 - np.exp(-10 * load.mean())))

    @property
    def light(self) -> str:
        """Traffic light: green leave it, amber look at it, red treat it."""
        return traffic_light(self.score)


def traffic_light(score: float) -> str:
    """The colour of a score of 0..100: green, amber or red."""
    return "green" if score < GREEN else "amber" if score < RED else "red"


def analyse(rgb: np.ndarray, untreated: Matrix | None = None) -> Matrix:
    """The matrix of a picture (H, W, 3) in 0..1 that already has generation size.

    ``untreated`` is the matrix of the same picture before it was softened: its small things stay
    those that count, so that what was softened does not count again for being faint.
    """
    return analyse_plane(luminance(rgb), untreated)


def analyse_plane(plane: np.ndarray, untreated: Matrix | None = None) -> Matrix:
    """The same for a luminance plane (H, W)."""
    bands, base = split(plane)
    energy, gain = fine_energy(bands, base)
    noise = _noise(bands[0])
    floor = noise**2 * sum((w * g) ** 2 for w, g in zip(BAND_WEIGHT, NOISE_GAIN, strict=False))
    contrast = np.sqrt(np.maximum(to_cells(energy) - floor * to_cells(gain) ** 2, 0))
    isolation = _isolation(contrast)
    with ThreadPoolExecutor(4) as beside:  # numpy lets go of the interpreter in large arrays
        lines = beside.submit(_line, bands[0])
        clear = beside.submit(lambda: untreated.lone if untreated else lone_objects(plane))
        repeats = beside.submit(_repeat, bands[0])
        edges = beside.submit(_lone_edge, plane, contrast)
        strokes = ramp(_sparse(bands[0]), *SPARSE) * ramp(isolation, *UNEVEN)
        line = ramp(lines.result(), *LINE)
        repeat = ramp(repeats.result(), *REPEAT)
        lone_edge = edges.result()
    kind = np.maximum(np.maximum(line, repeat), np.maximum(strokes, ramp(isolation, *ISOLATION)))
    alone = TINY * box_mean(contrast, 1) * ramp(isolation, *ISOLATION)
    counts = np.maximum(box_mean(contrast, 2), alone)  # a knob of two cells is lost in five
    salience = ramp(counts, *CONTRAST) * (1 - lone_edge) * kind
    if untreated:
        lone, lift = untreated.lone, untreated.lift
    else:
        lone, lift = _missed_objects(salience, clear.result(), contrast)
    salience = np.maximum(salience, lone)
    return Matrix(
        glow=_glow(energy - floor * gain**2, salience, lift),
        lone=lone,
        lift=lift,
        contrast=contrast,
        isolation=isolation,
        line=line,
        repeat=repeat,
        salience=salience,
        noise=noise,
    )


def band_glow(plane: np.ndarray, matrix: Matrix, band: int) -> np.ndarray:
    """What one band adds to the view of ``plane`` (H, W), 0..1: 0 is the finest. The squares of all
    three add up to the square of the view."""
    bands, base = split(plane)
    energy, gain = fine_energy(
        [values if level == band else 0 * values for level, values in enumerate(bands)], base
    )
    floor = (matrix.noise * BAND_WEIGHT[band] * NOISE_GAIN[band] * gain) ** 2
    return _glow(energy - floor, matrix.salience, matrix.lift)


def _missed_objects(
    salience: np.ndarray, clear: np.ndarray, contrast: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(lone, lift): of the things in ``clear`` those that ``salience`` misses, and how much the
    glow of each is raised."""
    labels, count = label(clear > 0)
    lone, lift = np.zeros_like(clear), np.ones_like(contrast)
    for thing in (labels == number for number in range(1, count + 1)):
        if salience[thing].max() < MISSED:
            lone[thing] = clear[thing]
            visible = LONE_GLOW / (GLOW_GAIN * contrast[thing].max() + 1e-6)
            lift[thing] = np.clip(visible, 1, MOST_LIFT)
    return lone, lift


def _glow(energy: np.ndarray, salience: np.ndarray, lift: np.ndarray) -> np.ndarray:
    """(H, W) in 0..1 from the energy above the noise: bright on sinks, faint on what is uniform."""
    gate = (UNIFORM_LEVEL + (1 - UNIFORM_LEVEL) * salience) * lift
    glow = np.sqrt(np.maximum(energy, 0)) * spread(gate, *energy.shape)
    return (GLOW_GAIN * glow).clip(0, 1)


def fine_energy(bands: list[np.ndarray], base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(energy, gain) per pixel: weighted energy of the bands over the local brightness.

    ``gain`` is the brightness normalisation that went into it, 1 at mid gray.
    """
    gain = (0.6 / (base + 0.12)).clip(0.4, 2.5)
    energy = sum((weight * band) ** 2 for weight, band in zip(BAND_WEIGHT, bands, strict=True))
    return energy * gain**2, gain


def _noise(finest: np.ndarray) -> float:
    """Deviation of the noise from the calmest tenth of the picture (finest band, per cell)."""
    calm = np.sqrt(np.quantile(to_cells(finest * finest), 0.1))
    return min(CALMEST * float(calm) / NOISE_GAIN[0], 8 / 255)


def _isolation(contrast: np.ndarray) -> np.ndarray:
    """Contrast in a 5x5 neighbourhood over that in a 41x41 one.

    Cells that glow in any case count no more there than the strongest texture does, so that one
    sink does not hide another beside it.
    """
    around = box_mean(np.minimum(contrast, TEXTURE_CONTRAST), 20)
    return (box_mean(contrast, 2) + 0.01) / (around + 0.01)


def _line(detail: np.ndarray) -> np.ndarray:
    """Share of the energy that is left after the mean of 16 pixels along the best of 8 directions.

    White noise keeps 1/16 in one direction and about 0.2 in the best of eight; an unbroken
    straight stroke keeps all.
    """
    height, width = detail.shape
    pad = 16
    wide = np.pad(detail, pad)
    stride = wide.shape[1]
    flat = wide.ravel()
    best = np.zeros_like(flat)
    for one, two in _DIRECTIONS:
        a = one[0] * stride + one[1]
        b = two[0] * stride + two[1]
        total = flat[:-a] + flat[a:]
        for step in (b, 2 * b, 4 * b):
            total = total[:-step] + total[step:]
        here = best[4 * b : 4 * b + total.size]
        np.maximum(here, np.abs(total, out=total), out=here)
    kept = best.reshape(wide.shape)[pad : pad + height, pad : pad + width]
    total_energy = box_mean(to_cells(detail * detail), 3)
    return box_mean(to_cells(kept * kept), 3) / (256 * total_energy + 1e-6)


def _sparse(detail: np.ndarray) -> np.ndarray:
    """Kurtosis over 44 pixels: 3 for random texture, far more for strokes on a calm ground."""
    square = detail * detail
    spread = box_mean(to_cells(square), 5)
    return box_mean(to_cells(square * square), 5) / (spread * spread + 1e-10)


def _repeat(detail: np.ndarray) -> np.ndarray:
    """Share of the energy in the strongest frequency, over blocks of 64 pixels, as a cell map.

    A pattern that repeats has a few strong frequencies, random texture hundreds of weak ones.
    """
    shape = [-(-n // CELL) for n in detail.shape]
    if min(detail.shape) < BLOCK:
        return np.zeros(shape, np.float32)
    rows, columns = (np.linspace(0, n - BLOCK, -(-n // 56)).astype(int) for n in detail.shape)
    blocks = np.lib.stride_tricks.sliding_window_view(detail, (BLOCK, BLOCK))
    window = np.hanning(BLOCK).astype(np.float32)
    blocks = blocks[np.ix_(rows, columns)] * (window[:, None] * window)
    waves = np.fft.rfft2(blocks).reshape(len(rows), len(columns), -1)
    power = waves.real**2 + waves.imag**2
    share = (power.max(-1) / (power.sum(-1) + 1e-6)).astype(np.float32)
    for axis, starts in ((0, rows), (1, columns)):
        centers = (np.arange(shape[axis]) + 0.5) * CELL
        at = np.interp(centers, starts + BLOCK / 2, np.arange(len(starts)))
        share = lerp(share, at, axis)
    return share


def _lone_edge(plane: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """1 where the neighbourhood holds one straight edge and little else."""
    dy = np.zeros_like(plane)
    dx = np.zeros_like(plane)
    dy[1:-1] = plane[2:] - plane[:-2]
    dx[:, 1:-1] = plane[:, 2:] - plane[:, :-2]
    xx, yy, xy = (box_mean(to_cells(p), 3) for p in (dx * dx, dy * dy, dx * dy))
    coherence = np.sqrt((xx - yy) ** 2 + 4 * xy * xy) / (xx + yy + 1e-6)
    mean, square = box_mean(contrast, 3), box_mean(contrast * contrast, 3)
    filled = mean * mean / (square + 1e-8)  # 1: even, 1/7: one row of seven
    return ramp(coherence, 0.5, 0.8) * (1 - ramp(filled, 0.45, 0.7))
