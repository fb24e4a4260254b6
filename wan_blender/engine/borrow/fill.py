# SPDX-License-Identifier: GPL-3.0-or-later
"""One frame with what others show in place of what its mask covers, at the plate's size and depth.

Donors are compared small and borrowed from at full size: each pixel is read once from a donor's own
file, by Lanczos interpolation, or copied where nothing moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .camera import apply
from .choice import Candidate, Choice, choose
from .clip import Clip, grown_box
from .colour import Light
from .donors import find_donors
from .layers import Aligned, align, follow_loose

ROW = 1024  # hidden pixels are gathered in rows of this length to be resampled together
FAINT = 0.02  # a smaller share of a candidate is not worth reading


@dataclass(frozen=True)
class Borrowed:
    """``picture`` (H, W, C) in the plate's depth: the plate, with borrowed pixels where
    ``confidence`` (H, W) float32 is above 0; ``donors`` the frames they are from."""

    index: int
    picture: np.ndarray
    confidence: np.ndarray
    donors: list[int]


class Filler:
    """Fills frames one after the other and remembers what the last one took."""

    def __init__(self, clip: Clip, survey, path, motion) -> None:
        self.clip, self.survey, self.path, self.motion = clip, survey, path, motion

    def fill(self, index: int) -> Borrowed:
        clip = self.clip
        plate, mask = clip.frame(index), clip.mask(index)
        nothing = Borrowed(index, plate, np.zeros(mask.shape, np.float32), [])
        donors = find_donors(clip, self.survey, self.path, index)
        if not donors:
            return nothing
        x0, y0, x1, y1 = inner = grown_box(mask, 0)
        margin = max(24, round(0.35 * max(x1 - x0, y1 - y0)), clip.width // 40)
        box = clip.look.box(grown_box(mask, margin))
        aligned = align(clip, self.path, index, donors, self.survey.take(index), inner)
        grid = clip.look.grid(box)
        places = self._places(aligned, index, grid)
        part = np.s_[box[1] : box[3], box[0] : box[2]]
        hidden = clip.hidden_look(index)[part]
        candidates = [self._candidate(aligned, *place, index) for place in places]
        choice = choose(clip.colours(index)[part], hidden, _ring(hidden), candidates)
        return self._write(index, box, places, aligned, candidates, choice)

    def _places(self, aligned: list[Aligned], index: int, grid: np.ndarray):
        """(donor's place in the list, layer, positions (h, w, 2) or homography) of each."""
        places = []
        for number, donor in enumerate(aligned):
            for layer, plane in enumerate(donor.planes):
                if plane is not None:
                    places.append((number, layer, plane, apply(plane, grid)))
            if donor.loose is not None:
                at = follow_loose(self.clip, self.motion, grid, index, donor)
                places.append((number, len(donor.planes), None, at))
        return places

    def _candidate(self, aligned, number: int, layer: int, plane, at: np.ndarray, index: int):
        clip, donor = self.clip, aligned[number].index
        small = clip.look.to(at).astype(np.float32)
        colours = clip.colours(donor)
        picture = cv2.remap(colours, small, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        seen = cv2.erode(
            (~clip.hidden_look(donor)).astype(np.float32), np.ones((3, 3)), borderValue=1
        )
        valid = cv2.remap(seen, small, None, cv2.INTER_LINEAR, borderValue=0) > 0.99
        picture = picture.reshape(*valid.shape, -1)
        middle = small[small.shape[0] // 2, small.shape[1] // 2]
        return Candidate(number, layer, picture, valid, abs(donor - index), middle, plane is None)

    def _write(self, index, box, places, aligned, candidates, choice: Choice) -> Borrowed:
        clip = self.clip
        plate, mask = clip.frame(index), clip.mask(index)
        inside = grown_box(mask, 0)
        window = np.s_[inside[1] : inside[3], inside[0] : inside[2]]
        spot = mask[window] > 0
        ys, xs = np.nonzero(spot)
        points = np.stack([xs + inside[0], ys + inside[1]], 1).astype(np.float32)
        small = clip.look.to(points) - np.float32(box[:2])
        total = np.zeros((len(points), plate.shape[2]), np.float32)
        share = np.zeros(len(points), np.float32)
        used = []
        for place, candidate, weights in zip(places, candidates, choice.weights):
            if not weights.any():
                continue
            weight = read(weights, small, cv2.INTER_LINEAR)[:, 0]
            wanted = weight > FAINT
            if not wanted.any():
                continue
            _, _, plane, at = place
            to = (
                apply(plane, points[wanted])
                if plane is not None
                else (read(at, small[wanted], cv2.INTER_LINEAR))
            )
            donor = aligned[candidate.donor].index
            light = choice.lights[candidate.donor]
            values = self._values(donor, to, small[wanted], light)
            total[wanted] += weight[wanted, None] * values
            share[wanted] += weight[wanted]
            used.append(donor)
        confidence = np.zeros(mask.shape, np.float32)
        sure = read(choice.confidence, small, cv2.INTER_LINEAR)[:, 0] * (share > 0.5)
        confidence[window][spot] = sure
        picture = plate.copy()
        borrowed = sure > 0
        values = total[borrowed] / share[borrowed, None]
        if np.issubdtype(plate.dtype, np.integer):
            values = np.rint(np.clip(values, 0, clip.peak))
        flat = picture[window][spot]
        flat[borrowed] = values.astype(plate.dtype)
        picture[window][spot] = flat
        return Borrowed(index, picture, confidence, sorted(set(used)))

    def _values(self, donor: int, to: np.ndarray, small: np.ndarray, light: Light) -> np.ndarray:
        """(N, C) float32 in the plate's units of donor pixels at ``to`` (N, 2)."""
        frame = self.clip.frame(donor)
        values = read(frame, to, cv2.INTER_LANCZOS4)
        if light.changes:
            colours = values[:, :3]
            changed = colours * light.gain + light.offset * self.clip.peak
            if light.field is not None:
                changed += read(light.field, small, cv2.INTER_LINEAR) * self.clip.peak
            values[:, :3] = changed
        return values


def read(picture: np.ndarray, at: np.ndarray, method: int) -> np.ndarray:
    """(N, C) float32 of ``picture`` (H, W[, C]) at positions ``at`` (N, 2); whole positions are
    copied."""
    count = len(at)
    rows = -(-count // ROW)
    maps = np.zeros((rows * ROW, 2), np.float32)
    maps[:count] = at
    (x0, x1), (y0, y1) = ((int(a.min()) - 4, int(a.max()) + 6) for a in (at[:, 0], at[:, 1]))
    x0, y0 = (min(max(0, low), side - 1) for low, side in zip((x0, y0), picture.shape[1::-1]))
    part = np.ascontiguousarray(picture[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)])
    maps -= np.float32([x0, y0])
    if np.issubdtype(part.dtype, np.integer):
        part = part.astype(np.float32)
    out = cv2.remap(part, maps.reshape(rows, ROW, 2), None, method, borderMode=cv2.BORDER_REPLICATE)
    return out.reshape(rows * ROW, -1)[:count]


def _ring(hidden: np.ndarray) -> np.ndarray:
    """Pixels near the hidden ones, but not so near that they are half hidden."""
    kernel = np.ones((3, 3), np.uint8)
    inner = cv2.dilate(hidden.astype(np.uint8), kernel)
    return inner == 0
