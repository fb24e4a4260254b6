# SPDX-License-Identifier: GPL-3.0-or-later
"""From signals to words: what was undecided at the hand-over, and where.

All signals rise with the energy of the content: a map of them is a picture of the objects. So each
is replaced by its rank, and the rank's regression on the logarithm of that energy is taken off, as
the plate's cells have it, whose content the model is shown: what is left is how much more a cell
moves than a decided one with as much in it. A cell is undecided when that lies above the plate's
95th percentile: 5 % of the plate is, by construction. No torch here.

The map tells the mask from the plate better than one part of the mask from another, and does not
tell a run with too few steps from one with enough (docs/attention.md, measured on the bundled
model). So what is said names no cause and no remedy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core.answers.insight import DecisionRegion, Decisions
from .decisions import Signals

MASK, PLATE = "mask", "plate"
QUANTILE = 0.95  # of the plate, above which a cell is undecided
FEWEST = 40  # cells of the plate by which anything can be calibrated
LATE = 0.4  # noise level below which what settles settles late
MUCH = 0.3  # share of a region that is worth a sentence


@dataclass(frozen=True)
class DecisionMaps:
    """(t, h, w) float32. ``undecided`` is the share of the plate's cells that are more decided,
    0..1; NaN where nothing calibrates it. ``settles`` is a noise level."""

    undecided: np.ndarray
    settles: np.ndarray
    gap: np.ndarray


def judge(signals: Signals, regions: dict[str, np.ndarray]) -> tuple[Decisions, DecisionMaps]:
    """``regions`` are bool (t, h, w) by name, MASK and PLATE among them."""
    at, last = signals.handover, len(signals.sigmas) - 1
    plate = regions[PLATE]
    name, signal, energy = choose(signals)
    score = above(residual(signal, energy, plate), plate)
    late_score = _at_end(signals, plate)
    settles, knows = settle_levels(signals, plate)
    gap = signals.gap.get(at, np.full(energy.shape, np.nan)).astype(np.float32)
    usual = gap[plate].mean() if plate.any() else np.nan
    described = []
    for region, cells in regions.items():
        described.append(
            DecisionRegion(
                region,
                int(cells.sum()),
                _share(score > QUANTILE, cells, score),
                _share(late_score > QUANTILE, cells, late_score),
                _mean(settles, cells, np.median) if knows else None,
                _share(settles < LATE, cells, settles) if knows else None,
                _mean(gap / max(usual, 1e-9), cells),
                _detail(signals, cells),
                _switch(signals, cells),
            )
        )
    curve = tuple(_curve(signals, regions, step) for step in range(last + 1))
    levels = tuple(round(s, 6) for s in signals.sigmas)
    said = _sentences({region.name: region for region in described})
    found = Decisions(levels[at], name, tuple(described), levels, curve, said)
    return found, DecisionMaps(score, settles, gap)


def choose(signals: Signals) -> tuple[str, np.ndarray, np.ndarray]:
    """The best signal there is at the hand-over: its name, it, and the energy beside it. A run
    whose hand-over is its first step, without guidance, has none: all NaN."""
    at = signals.handover
    if signals.probe is not None:
        kept = signals.probe, signals.probe_energy
        return "probe", *(plane.astype(np.float32) for plane in kept)
    energy = signals.energy[at].astype(np.float32)
    for name, kept in (("drift", signals.drift), ("gap", signals.gap)):
        if at in kept:
            return name, kept[at].astype(np.float32), energy
    return "none", np.full(energy.shape, np.nan, np.float32), energy


def residual(signal: np.ndarray, energy: np.ndarray, plate: np.ndarray) -> np.ndarray:
    """Rank of ``signal`` in 0..1 without its regression on log ``energy`` over the ``plate``."""
    if not np.isfinite(signal).all() or plate.sum() < FEWEST:
        return np.full(signal.shape, np.nan, np.float32)
    rank = ranks(signal.ravel()).reshape(signal.shape) / max(signal.size - 1, 1)
    level = np.log(energy.astype(float) + 1e-6)
    spread = level[plate].std() + 1e-6
    slope = ((level - level[plate].mean()) * rank)[plate].mean() / spread**2
    return (rank - slope * (level - level[plate].mean())).astype(np.float32)


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value, equal ones share their mean."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts) + (counts - 1) / 2)[where.ravel()]


def above(score: np.ndarray, plate: np.ndarray) -> np.ndarray:
    """Of each cell, the share of the plate's cells whose score is below its own; NaN where the
    plate is too small to say."""
    known = np.sort(score[plate])
    if len(known) < FEWEST or not np.isfinite(score).all():
        return np.full(score.shape, np.nan, np.float32)
    return (np.searchsorted(known, score) / len(known)).astype(np.float32)


def settle_levels(signals: Signals, plate: np.ndarray) -> tuple[np.ndarray, bool]:
    """(t, h, w) noise level from which on each cell stays where it is, and whether that is known:
    the way that its estimate still goes is no longer than the plate's from LATE on. The jump of
    the expert switch is not counted. 0 for what moves to the end."""
    sigmas, shape = signals.sigmas, signals.energy[signals.handover].shape
    ways = [np.zeros(shape, np.float32)]  # still to go after the last step, the one before, ...
    for step in range(len(sigmas) - 1, 0, -1):
        speed = signals.drift.get(step)
        way = 0 if speed is None else speed.astype(np.float32) * (sigmas[step - 1] - sigmas[step])
        ways.append(ways[-1] + way)
    ways.reverse()
    if plate.sum() < FEWEST:
        return np.full(shape, np.nan, np.float32), False
    late = max((k for k, sigma in enumerate(sigmas) if sigma >= LATE), default=0)
    still = np.quantile(ways[late][plate], QUANTILE)
    levels = np.zeros(shape, np.float32)
    for step in range(len(sigmas) - 1, -1, -1):
        levels[ways[step] <= still] = sigmas[step]
    return levels, True


def _at_end(signals: Signals, plate: np.ndarray) -> np.ndarray:
    last = len(signals.sigmas) - 1
    if last not in signals.drift:
        return np.full(plate.shape, np.nan, np.float32)
    speed, energy = signals.drift[last], signals.energy[last]
    return above(residual(speed.astype(np.float32), energy.astype(np.float32), plate), plate)


def _curve(signals: Signals, regions: dict[str, np.ndarray], step: int) -> float | None:
    if step not in signals.drift:
        return None
    speed, energy = (kept[step].astype(np.float32) for kept in (signals.drift, signals.energy))
    left = residual(speed, energy, regions[PLATE])
    score = above(left, regions[PLATE])
    return _share(score > QUANTILE, regions[MASK], score)


def _share(flags: np.ndarray, cells: np.ndarray, known: np.ndarray) -> float | None:
    if not cells.any() or not np.isfinite(known).all():
        return None
    return round(float(flags[cells].mean()), 4)


def _mean(values: np.ndarray, cells: np.ndarray, mean=np.mean) -> float | None:
    if not cells.any() or not np.isfinite(values[cells]).all():
        return None
    return round(float(mean(values[cells])), 4)


def _detail(signals: Signals, cells: np.ndarray) -> float | None:
    first, last = (
        signals.fine[k].astype(np.float32) for k in (signals.handover, max(signals.fine))
    )
    if not cells.any() or first is last:
        return None
    return round(float(np.sqrt(first[cells].mean() / max(last[cells].mean(), 1e-9))), 4)


def _switch(signals: Signals, cells: np.ndarray) -> float | None:
    """The first jump across two stages against the mean drift before and after it."""
    if not signals.switch or not cells.any():
        return None
    step = min(signals.switch)
    near = [signals.drift[k][cells].mean() for k in (step - 1, step + 1) if k in signals.drift]
    if not near:
        return None
    return round(float(signals.switch[step][cells].mean() / max(np.mean(near), 1e-9)), 4)


def _sentences(regions: dict[str, DecisionRegion]) -> tuple[str, ...]:
    """The mask's, then where sinks are less decided than the plate."""
    mask = regions[MASK]
    if mask.undecided is None:
        return ("Decisions: cannot say; there is too little plate to hold the mask against.",)
    said = [f"{mask.undecided:.0%} of the mask was less decided at the hand-over than the plate is"]
    if mask.at_end is not None:
        said[0] += f", {mask.at_end:.0%} at the last step"
    said[0] += "."
    if (mask.late or 0) > MUCH:
        said.append(f"{mask.late:.0%} of the mask still moves below noise level {LATE}.")
    for region in regions.values():
        if region.name not in (MASK, PLATE) and (region.undecided or 0) > MUCH:
            said.append(f"{region.name.capitalize()}: {region.undecided:.0%} undecided.")
    return tuple(said)
