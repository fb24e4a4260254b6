# SPDX-License-Identifier: GPL-3.0-or-later
"""Settledness: does fine detail stick to the surface it is on, or is it drawn anew in each frame?

For each region and frame, the bands of 2 to 8 pixels of luma are compared with those of the frame
before, brought along the optical flow (hygiene/measure/motion.py):

    s = 1 - clip(max(e - phi, 0) / (2 D), 0, 1)

e is the mean squared change, phi what flow and resampling leave of the region's own detail when it
is moved rigidly, plus the noise that the plate's own frames have between them; D is the mean
squared detail of both frames, noise taken off. Only pixels count whose flow leads back to them.
1 sticks to the surface, 0 is unrelated from frame to frame, and None cannot be said: too little of
the region is visible in both frames, or its detail lies under the noise.

What the mask is held against is a ring of untouched plate around it: what camera, grain and codec
do, they do to both. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ...core.answers.insight import SAME, RegionCurve, Settledness
from ...core.errors import LengthMismatch
from ...core.frame_ranges import frame_ranges
from ...hygiene.bands import luminance
from ..hygiene.measure.motion import fine_change
from .detail import FLOOR, SEEN, Moment, compare, moment_of, noise_of, settled_cells
from .jumps import find_jumps, spread
from .returns import BACK, Watched, correlate

RING = "ring"  # name of the region that everything is held against
SMALLEST = 64  # pixels of a region about which anything can be said
JUMP = 0.15  # of s, and
ENERGY_JUMP = 0.4  # of the logarithm of detail energy: less is not a visible blink
STEADY = 0.02  # deviation of s below which no ring is believed
TORN = 0.55  # correlation with the frame before that no blur leaves behind
CRAWLS = 0.8  # below it a region crawls; texture of which a fifth is new in each frame has 0.8
GROUP = 4  # frames of a latent group after the first, which has one

Regions = dict[str, np.ndarray]  # name -> bool (H, W)
Values = Sequence[float | None]


def measure(
    frames: Iterable[tuple[np.ndarray, Regions]], first_frame: int = 0
) -> tuple[Settledness, list[np.ndarray]]:
    """``frames`` are two or more pictures (H, W, 3) in 0..1, each with its regions, taken one at a
    time; all have the same names, one of them RING where there is untouched plate. ``first_frame``
    is the number that sentences give to the first one.

    Also returns a map (rows, columns) float32 for each frame after the first: s of cells of CELL
    pixels, NaN where it cannot be said. Raises LengthMismatch for fewer than two frames.
    """
    moments: dict[str, list[Moment]] = {}
    watched: dict[str, Watched] = {}
    noises, maps = [], []
    before, flow, count = None, None, 0
    earlier: Regions = {}
    for picture, regions in frames:
        now = luminance(picture.astype(np.float32))
        for name, region in regions.items():
            if name != RING:
                watched.setdefault(name, Watched()).add(count, now, region)
        count += 1
        if before is not None:
            found = fine_change(now, before)
            noises.append(noise_of(found, regions.get(RING)))
            change, flow = compare(found, flow), found.flow
            maps.append(settled_cells(change, noises[-1]))
            for name, region in regions.items():
                moment = moment_of(change, noises[-1], region)
                if name != RING and moment.visible < SEEN:
                    alike = _alike(now, region, before, earlier[name])
                    moment = replace(moment, alike=alike)
                moments.setdefault(name, []).append(moment)
        before, earlier = now, regions
    if count < 2:
        raise LengthMismatch(f"Settledness needs at least 2 frames; the clip has {count}.")
    curves = _curves(moments, watched)
    noise = 255 * float(np.sqrt(np.median(noises) / 2))
    return Settledness(count, curves, round(noise, 3), _sentences(curves, first_frame)), maps


def _alike(
    now: np.ndarray, region: np.ndarray, before: np.ndarray, there: np.ndarray
) -> float | None:
    """Correlation of a region with itself a frame ago, though no flow leads there; None where it
    comes from behind something, or goes."""
    areas = sorted((int(region.sum()), int(there.sum())))
    if areas[0] < max(SMALLEST, BACK * areas[1]):
        return None
    return correlate(now, region, before, there)


def _can_say(moment: Moment) -> bool:
    return moment.pixels >= SMALLEST and moment.visible >= SEEN


def _settled(moment: Moment) -> float | None:
    """s of one region at one frame."""
    detail = (moment.fine + moment.brought - moment.noise) / 2
    if not _can_say(moment) or detail <= max(FLOOR, moment.noise / 2):
        return None
    gain = (np.sqrt(moment.fine) - np.sqrt(moment.brought)) ** 2  # a fade, or a blur that passes
    off = max(moment.change - moment.rigid - gain - moment.noise, 0.0) / (2 * detail)
    return float(1 - min(off, 1.0))


def _growth(moment: Moment) -> float | None:
    """Logarithm of detail energy over that of the frame before, along the track."""
    fine, brought = (e - moment.noise / 2 for e in (moment.fine, moment.brought))
    floor = max(FLOOR, moment.noise / 2)
    if not _can_say(moment) or max(fine, brought) <= floor:
        return None
    return float(np.log(max(fine, floor) / max(brought, floor)))


def _curves(
    moments: dict[str, list[Moment]], watched: dict[str, Watched]
) -> tuple[RegionCurve, ...]:
    ring = moments.get(RING, [])
    calm = [_settled(replace(m, noise=0.0)) for m in ring]  # it shows what its noise does
    still = [_growth(m) for m in ring]
    curves = []
    for name, found in moments.items():
        s, blinks = calm, ()
        if name != RING:
            s, torn = _mend([_settled(m) for m in found], found)
            growth = [_growth(m) for m in found]
            blinks = tuple(sorted(torn | _blinks(s, growth, calm, still)))
        known = [v for v in s if v is not None]
        curves.append(
            RegionCurve(
                name,
                (None, *(None if v is None else round(v, 4) for v in s)),
                (0.0, *(round(m.visible, 3) for m in found)),
                round(float(np.mean(known)), 4) if known else None,
                blinks,
                tuple(watched[name].returns) if name in watched else (),
                *_beat(s),
            )
        )
    return tuple(curves)


def _mend(settled: Values, moments: list[Moment]) -> tuple[Values, set[int]]:
    """Where a region cannot be judged by the flow and is not like itself a frame ago either, it was
    drawn anew. Among frames that crawl that is crawling, and s is the correlation; once, among
    settled ones, it is a blink: (s, frames of blinks)."""
    torn = [m.alike is not None and m.alike < TORN for m in moments]
    mended, blinks = list(settled), set()
    for index in np.flatnonzero(torn):
        near = [i for i in (index - 1, index + 1) if 0 <= i < len(torn)]
        if any(torn[i] or (settled[i] is not None and settled[i] < CRAWLS) for i in near):
            mended[index] = max(moments[index].alike, 0.0)
        elif moments[index].alike < SAME and all(settled[i] is not None for i in near):
            blinks.add(int(index) + 1)
    return mended, blinks


def _blinks(settled: Values, growth: Values, calm: Values, still: Values) -> set[int]:
    """Frames at which s or the detail's energy jumps, in what the ring does not do, too. The
    deviation is the ring's; where the region itself is less steady than that, its own."""
    found: set[int] = set()
    for own, ring, smallest in ((settled, calm, JUMP), (growth, still, ENERGY_JUMP)):
        if any(v is not None for v in ring):
            rest = [v if v is None or r is None else v - r for v, r in zip(own, ring)]
        else:
            rest = list(own)
        deviation = max(spread(ring), spread(rest), STEADY)
        found |= {index + 1 for index in find_jumps(rest, deviation, smallest)}
    return found


def _beat(settled: Values) -> tuple[float | None, bool]:
    """Mean of 1 - s at borders of latent groups over that inside of them, and whether the
    difference is more than three standard errors and to be seen."""
    at: dict[bool, list[float]] = {True: [], False: []}
    for index, value in enumerate(settled):
        if value is not None:  # entry i is frame i + 1; frames 1, 5, 9 begin a group
            at[index % GROUP == 0].append(1 - value)
    borders, inside = np.array(at[True]), np.array(at[False])
    if len(borders) < 3 or len(inside) < 3:
        return None, False
    error = np.sqrt(borders.var(ddof=1) / len(borders) + inside.var(ddof=1) / len(inside))
    more = float(borders.mean() - inside.mean())
    ratio = float(borders.mean() / max(inside.mean(), 0.01))
    return round(ratio, 3), bool(more > max(3 * error, JUMP / 3))


def _sentences(curves: tuple[RegionCurve, ...], first_frame: int) -> tuple[str, ...]:
    """What an editor has to know, in order of weight."""
    ring = next((c.mean for c in curves if c.name == RING), None)
    said = []
    for curve in curves:
        if curve.name != RING:
            said += _say(curve, ring, first_frame)
    return tuple(said)


def _say(curve: RegionCurve, ring: float | None, first: int) -> list[str]:
    name = curve.name.capitalize()
    if curve.mean is None:
        return [f"{name}: cannot say; it is hidden, or smoother than the noise."]
    beside = "" if ring is None else f"; the plate around it {ring:.0%}"
    said = [f"{name}: {curve.mean:.0%} settled{beside}."]
    crawling = [i + first for i, s in enumerate(curve.settled) if s is not None and s < CRAWLS]
    if crawling:
        said.append(f"{name}: fine detail crawls on {frame_ranges(crawling)}.")
    for frame in curve.blinks:
        said.append(f"{name}: becomes another thing at frame {frame + first}.")
    for back in curve.returns:
        if back.differs:
            where = f"hidden after frame {back.before + first}, back at frame {back.frame + first}"
            said.append(f"{name}: came back different ({where}).")
    if curve.beats:
        said.append(f"{name}: pulses with the latent groups, every {GROUP} frames.")
    return said
