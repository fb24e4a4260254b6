# SPDX-License-Identifier: GPL-3.0-or-later
"""Which donor and layer each hidden pixel takes, decided in a small copy of the frame.

A layer is right where donors seen through it agree; one that is wrong brings a different thing from
each. Around the mask it is also seen to be right or wrong, and that counts the nearer the pixel is.
Then each pixel takes the nearest donor that the others bear out.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .colour import LEVEL, Light, gap, match_light
from .motion import spread_in

AGREE_PX = 5  # side of the windows in which donors are compared
TELLING_PX = 4.0  # a layer must lie this much otherwise in two donors for them to test it
NEAR_SURE = 5 * LEVEL  # what is in front hides what is behind where donors agree about this well
UNTOLD = 2 * LEVEL  # cost of a layer that is not tested so
VOTE_PX = 11  # side of the windows in which the choice of single pixels is outvoted
CAP = 40 * LEVEL  # a larger difference is as wrong as this one
NEAR_WORTH = 0.35 * LEVEL  # cost of a donor per doubling of its distance in time
DRIFT = 1.0 * LEVEL  # cost of followed flow per frame
UNSURE = 3 * LEVEL  # cost of a donor that no other bears out
SURE = 7 * LEVEL  # donors nearer to each other than this agree
FREE = 4 * LEVEL
SCALE = 10 * LEVEL  # half sure at 12 levels
SEEN_WEIGHT = 0.7  # of the error around the mask, in confidence
AROUND = 0.2  # weight of what is seen around the mask against what donors agree on


@dataclass(frozen=True)
class Candidate:
    """Donor ``donor`` (a place in the list of donors) through ``layer``: ``picture`` (h, w, C) in
    0..1 warped to the frame, ``valid`` (h, w) where it shows something, ``away`` frames off;
    ``centre`` (2,) is where the middle of the part lies in the donor, in pixels of the copy;
    ``followed`` tells dense flow, whose errors add up, from a plane."""

    donor: int
    layer: int
    picture: np.ndarray
    valid: np.ndarray
    away: int
    centre: np.ndarray
    followed: bool


@dataclass(frozen=True)
class Choice:
    """``weights`` (n, h, w): share of each candidate; sums to 1 or, where none is valid, to 0.
    ``confidence`` (h, w) in 0..1; ``lights`` one per donor; ``chosen`` (h, w) is the candidate with
    the largest share, -1 for none."""

    weights: np.ndarray
    chosen: np.ndarray
    confidence: np.ndarray
    lights: list[Light]


def choose(
    plate: np.ndarray,
    hidden: np.ndarray,
    around: np.ndarray,
    candidates: list[Candidate],
) -> Choice:
    """``plate`` (h, w, C) in 0..1, ``hidden`` what is to be filled and ``around`` what both show,
    (h, w) bool."""
    layers = 1 + max(c.layer for c in candidates)
    donors = 1 + max(c.donor for c in candidates)
    lights = [_light(plate, around, [c for c in candidates if c.donor == d]) for d in range(donors)]
    lit = [_lit(c, lights[c.donor]) for c in candidates]
    least = min(light.error for light in lights)
    wrong = _seen_errors(plate, around, candidates, lit, layers)
    deviation, telling = _deviations(candidates, lit)
    layer = _pick_layer(candidates, deviation, telling, wrong, around, layers)
    costs = np.full((len(candidates), *hidden.shape), np.inf, np.float32)
    for i, candidate in enumerate(candidates):
        cost = np.where(np.isnan(deviation[i]), UNSURE, deviation[i])
        light = lights[candidate.donor]
        cost = cost + NEAR_WORTH * np.log2(1 + candidate.away)
        cost = cost + DRIFT * candidate.away * candidate.followed
        cost = cost + 0.5 * (light.error - least) + 2 * LEVEL * np.abs(np.log2(light.gain)).mean()
        ok = candidate.valid & (layer == candidate.layer) & hidden
        costs[i] = np.where(ok, cv2.blur(cost.astype(np.float32), (5, 5)), np.inf)
    chosen = _most_around(costs)
    weights = _soft(chosen, candidates, hidden)
    confidence = _confidence(candidates, chosen, deviation, wrong)
    return Choice(weights, chosen, confidence, lights)


def _light(plate: np.ndarray, around: np.ndarray, own: list[Candidate]) -> Light:
    """From the layer that fits best at each place around the mask."""
    best, least, seen = own[0].picture, None, own[0].valid
    for candidate in own:
        error = gap(candidate.picture, plate)
        error = np.where(candidate.valid, cv2.blur(error, (5, 5)), np.inf)
        if least is None:
            least = error
            continue
        better = error < least
        best = np.where(better[..., None], candidate.picture, best)
        least = np.where(better, error, least)
        seen = seen | candidate.valid
    return match_light(plate, best, around & seen)


def _lit(candidate: Candidate, light: Light) -> np.ndarray:
    picture = candidate.picture * light.gain + light.offset
    return picture if light.field is None else picture + light.field


def _seen_errors(plate, around, candidates, lit, layers: int) -> np.ndarray:
    """(layers, h, w): how wrong each layer is, seen around the mask and continued under it."""
    errors = np.full((layers, *around.shape), UNSURE, np.float32)
    for layer in range(layers):
        total = np.zeros(around.shape, np.float32)
        count = np.zeros(around.shape, np.float32)
        for candidate, picture in zip(candidates, lit):
            if candidate.layer == layer:
                ok = (candidate.valid & around).astype(np.float32)
                difference = np.minimum(gap(picture, plate), CAP)
                total += cv2.blur(difference * ok, (AGREE_PX, AGREE_PX))
                count += cv2.blur(ok, (AGREE_PX, AGREE_PX))
        known = count > 0.2
        if known.any():
            mean = total / np.maximum(count, 1e-3)
            errors[layer] = spread_in(mean, known.astype(np.float32))
    return errors


def _deviations(candidates: list[Candidate], lit: list[np.ndarray]):
    """How far each candidate is from the two of its layer that it is nearest to, (h, w); nan where
    it is alone. And the same from those only in which the layers lie otherwise: two donors agree
    through a wrong layer, too, when it makes the same error in both."""
    shape = candidates[0].valid.shape
    nearest = [TwoLeast(shape) for _ in candidates]
    telling = [TwoLeast(shape) for _ in candidates]
    side = (AGREE_PX, AGREE_PX)
    for i, one in enumerate(candidates):
        for j in range(i + 1, len(candidates)):
            two = candidates[j]
            both = one.valid & two.valid
            if one.layer != two.layer or not both.any():
                continue
            weight = both.astype(np.float32)
            difference = np.minimum(gap(lit[i], lit[j]), CAP) * weight
            mean = cv2.blur(difference, side) / np.maximum(cv2.blur(weight, side), 1e-3)
            mean[~both] = np.inf
            mean[~both] = np.inf
            tells = _parallax(candidates, one, two) > TELLING_PX
            for least in (nearest, telling) if tells else (nearest,):
                least[i].add(mean)
                least[j].add(mean)
    return [least.mean() for least in nearest], [least.mean() for least in telling]


def _parallax(candidates: list[Candidate], one: Candidate, two: Candidate) -> float:
    """How far the layer of both moves from one donor to the other against the layer that moves
    most like it; infinite where it is the only one."""
    least = np.inf
    for beside in candidates:
        if beside.donor == one.donor and beside.layer != one.layer:
            for other in candidates:
                if other.donor == two.donor and other.layer == beside.layer:
                    moved = (two.centre - one.centre) - (other.centre - beside.centre)
                    least = min(least, float(np.hypot(*moved)))
    return least


class TwoLeast:
    """The two smallest of many (h, w), each pixel for itself."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.first = np.full(shape, np.inf, np.float32)
        self.second = np.full(shape, np.inf, np.float32)

    def add(self, value: np.ndarray) -> None:
        self.second = np.minimum(self.second, np.maximum(self.first, value))
        self.first = np.minimum(self.first, value)

    def mean(self) -> np.ndarray:
        """Of both, of one where there is no other, nan where there is none."""
        mean = np.where(np.isfinite(self.second), (self.first + self.second) / 2, self.first)
        return np.where(np.isfinite(mean), mean, np.nan)


def _pick_layer(candidates, deviation, telling, wrong, around, layers: int) -> np.ndarray:
    """(h, w) the layer of least cost among those that have a valid donor; -1 for none."""
    shape = around.shape
    agreed = [_agreement(candidates, telling, layer, shape) for layer in range(layers)]
    usual = _usual(np.stack(agreed), around)
    costs = np.full((layers, *shape), np.inf, np.float32)
    for layer in range(layers):
        shown = np.any([c.valid for c in candidates if c.layer == layer], 0)
        loosely = _agreement(candidates, deviation, layer, shape)
        loosely = np.where(np.isnan(loosely), UNSURE, loosely) + UNTOLD
        apart = np.where(np.isnan(agreed[layer]), loosely, agreed[layer])
        cost = apart + AROUND * wrong[layer] + 0.2 * LEVEL * layer
        for other in range(layers):
            if other != layer and _lies_before(other, layer, agreed, wrong, around):
                there = 1 - np.nan_to_num(agreed[other], nan=np.inf) / (2 * usual + NEAR_SURE)
                cost = cost + CAP * np.maximum(there, 0)
        cost = cv2.blur(np.minimum(cost, 2 * CAP).astype(np.float32), (3, 3))
        costs[layer] = np.where(shown, cost, np.inf)
    return _most_around(costs)


def _agreement(candidates, deviation, layer: int, shape) -> np.ndarray:
    """(h, w): how near the best donors of a layer are to each other; nan where nothing tells."""
    least = TwoLeast(shape)
    for candidate, apart in zip(candidates, deviation):
        if candidate.layer == layer:
            least.add(np.where(candidate.valid & ~np.isnan(apart), apart, np.inf))
    return least.mean()


def _usual(agreed: np.ndarray, around: np.ndarray) -> float:
    """How near donors are to each other where they show the same: the median around the mask."""
    least = np.where(np.isnan(agreed), np.inf, agreed).min(0)[around]
    least = least[np.isfinite(least)]
    return max(LEVEL / 2, float(np.median(least))) if least.size else UNSURE


def _most_around(costs: np.ndarray) -> np.ndarray:
    """The number (h, w) of the least cost, outvoted by its neighbours where it stands alone; -1
    where all are infinite."""
    there = np.isfinite(costs)
    least = costs.argmin(0)
    votes = [
        cv2.blur((least == n).astype(np.float32), (VOTE_PX, VOTE_PX)) for n in range(len(costs))
    ]
    return np.where(there.any(0), np.where(there, votes, -1).argmax(0), -1)


def _lies_before(one: int, two: int, agreed, wrong, around: np.ndarray) -> bool:
    """Whether layer ``one`` hides layer ``two``. Donors agree on what is behind a thing as well as
    on the thing; around the mask the frame itself says which of them is in front."""
    both = around & (agreed[one] < SURE) & (agreed[two] < SURE)  # nan compares as False
    first = np.sum(both & (wrong[one] < SURE) & (wrong[two] > 2 * SURE))
    second = np.sum(both & (wrong[two] < SURE) & (wrong[one] > 2 * SURE))
    return bool(first > 16 and first > 2 * second)


def _soft(chosen: np.ndarray, candidates: list[Candidate], hidden: np.ndarray) -> np.ndarray:
    """Shares of the candidates with borders between donors of a layer softened by 2 pixels."""
    weights = np.zeros((len(candidates), *chosen.shape), np.float32)
    layer_of = np.array([c.layer for c in candidates] + [-1])[chosen]
    for i, candidate in enumerate(candidates):
        own = (chosen == i).astype(np.float32)
        if own.any():
            allowed = candidate.valid & (layer_of == candidate.layer)
            weights[i] = cv2.GaussianBlur(own, (0, 0), 1.5) * allowed
    total = weights.sum(0)
    return weights / np.where(total > 1e-4, total, 1) * (chosen >= 0) * hidden


def _confidence(candidates, chosen, deviation, wrong) -> np.ndarray:
    """exp(-((d - FREE) / SCALE)^2) of the larger of the donor's distance from the others and the
    least error of a layer around the mask; grain alone is below FREE. Where there are layers, a
    pixel is as doubtful as its neighbours: edges of what is in front lie between them."""
    apart = np.zeros(chosen.shape, np.float32)
    alone = np.zeros(chosen.shape, bool)
    drift = np.zeros(chosen.shape, np.float32)
    for i, candidate in enumerate(candidates):
        own = chosen == i
        alone |= own & np.isnan(deviation[i])
        apart = np.where(own, np.nan_to_num(deviation[i]), apart)
        drift[own] = DRIFT * candidate.away * candidate.followed
    if len(wrong) > 1:
        apart = cv2.blur(cv2.dilate(apart, np.ones((5, 5))), (5, 5))
    apart = np.maximum(apart, SEEN_WEIGHT * wrong.min(0)) + drift
    sure = np.exp(-((np.maximum(apart - FREE, 0) / SCALE) ** 2)) * np.where(alone, 0.85, 1)
    return np.where(chosen >= 0, sure, 0).astype(np.float32)
