# SPDX-License-Identifier: GPL-3.0-or-later
"""The shot as borrowing reads it: frames at the plate's depth, and small copies to look at.

Frames are asked for one at a time and the last few are held, in their own integer type; what is
held of all of them is small: a mask at `MAP_PX` and a thumbnail.

Positions are plate pixels, (x, y) float32, with the middle of the first pixel at (0, 0).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

TRACK_PX = 960  # longer side of the pictures in which motion is measured
LOOK_PX = 480  # longer side of the pictures in which donors are compared
MAP_PX = 240  # longer side of the masks in which donors are found
FADE_PX = 5
HELD_BYTES = 600e6
Frames = Callable[[int], np.ndarray] | Sequence[np.ndarray] | np.ndarray


@dataclass(frozen=True)
class Scaled:
    """A smaller copy of a plate: ``to`` and ``back`` turn plate positions into its own and back."""

    width: int
    height: int
    x_scale: float
    y_scale: float

    @classmethod
    def of(cls, width: int, height: int, longest: int) -> Scaled:
        scale = min(1.0, longest / max(width, height))
        w, h = max(1, round(width * scale)), max(1, round(height * scale))
        return cls(w, h, w / width, h / height)

    @property
    def matrix(self) -> np.ndarray:
        """3x3 from plate positions to positions in the copy."""
        x, y = self.x_scale, self.y_scale
        return np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5], [0, 0, 1]])

    def to(self, points: np.ndarray) -> np.ndarray:
        scale = np.array([self.x_scale, self.y_scale], np.float32)
        return (points + 0.5) * scale - 0.5

    def back(self, points: np.ndarray) -> np.ndarray:
        scale = np.array([self.x_scale, self.y_scale], np.float32)
        return (points + 0.5) / scale - 0.5

    def shrink(self, picture: np.ndarray) -> np.ndarray:
        if picture.shape[:2] == (self.height, self.width):
            return picture
        return cv2.resize(picture, (self.width, self.height), interpolation=cv2.INTER_AREA)

    def shrink_mask(self, mask: np.ndarray) -> np.ndarray:
        """Boolean: every pixel that touches a masked one."""
        return self.shrink((mask > 0).astype(np.float32)) > 0

    def grid(self, box: tuple[int, int, int, int]) -> np.ndarray:
        """Plate positions (h, w, 2) of the copy's pixels x0, y0, x1, y1."""
        x0, y0, x1, y1 = box
        xs, ys = np.meshgrid(np.arange(x0, x1), np.arange(y0, y1))
        return self.back(np.stack([xs, ys], 2).astype(np.float32))

    def box(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """The copy's pixels that a box of plate pixels touches."""
        x0, y0, x1, y1 = box
        return (
            int(np.floor(x0 * self.x_scale)),
            int(np.floor(y0 * self.y_scale)),
            min(self.width, int(np.ceil(x1 * self.x_scale))),
            min(self.height, int(np.ceil(y1 * self.y_scale))),
        )


class Clip:
    """``frames(i)`` is (H, W, C), uint8, uint16 or float in 0..1, with 1, 3 or 4 channels, the
    fourth straight alpha; ``masks(i)`` is (H, W), above 0 where something is to be borrowed.
    ``check`` is called before each frame is read, and may raise."""

    def __init__(
        self,
        frames: Frames,
        masks: Frames,
        count: int | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._frame = frames if callable(frames) else frames.__getitem__
        self._mask = masks if callable(masks) else masks.__getitem__
        self._check = check
        self.count = len(frames) if count is None else count
        first = self._frame(0)
        self.height, self.width = first.shape[:2]
        self.dtype = first.dtype
        whole = np.issubdtype(first.dtype, np.integer)
        self.peak = float(np.iinfo(first.dtype).max) if whole else 1.0
        size = (self.width, self.height)
        self.track = Scaled.of(*size, TRACK_PX)
        self.look = Scaled.of(*size, LOOK_PX)
        self.map = Scaled.of(*size, MAP_PX)
        room = max(8, int(HELD_BYTES / max(1, first.nbytes)))
        self._held: dict[str, tuple[int, OrderedDict[int, Any]]] = {
            "frame": (min(room, 96), OrderedDict()),
            "mask": (8, OrderedDict()),
            "gray": (256, OrderedDict()),
            "colours": (256, OrderedDict()),
            "hidden": (self.count, OrderedDict()),
            "hidden_look": (256, OrderedDict()),
        }

    def _keep(self, kind: str, index: int, make: Callable[[], Any]) -> Any:
        room, held = self._held[kind]
        if index in held:
            held.move_to_end(index)
            return held[index]
        value = make()
        held[index] = value
        while len(held) > room:
            held.popitem(last=False)
        return value

    def frame(self, index: int) -> np.ndarray:
        """(H, W, C) as it was given."""

        def read() -> np.ndarray:
            self._check()
            frame = self._frame(index)
            return frame[..., None] if frame.ndim == 2 else frame

        return self._keep("frame", index, read)

    def mask(self, index: int) -> np.ndarray:
        """(H, W) as it was given."""
        return self._keep("mask", index, lambda: self._mask(index))

    def colours(self, index: int) -> np.ndarray:
        """(h, w, C) float32 in 0..1 at ``look`` size, alpha left out."""

        def make() -> np.ndarray:
            small = self.look.shrink(self.frame(index))
            small = small.reshape(self.look.height, self.look.width, -1)
            return (small[..., :3] * np.float32(1 / self.peak)).astype(np.float32)

        return self._keep("colours", index, make)

    def gray(self, index: int) -> np.ndarray:
        """(h, w) uint8 at ``track`` size with brightness and contrast made even, so that a flash
        or a fade does not look like motion."""

        def make() -> np.ndarray:
            small = self.track.shrink(self.frame(index)).reshape(
                self.track.height, self.track.width, -1
            )
            plane = small[..., :3].astype(np.float32).mean(2) * (255 / self.peak)
            seen = (~self.track.shrink_mask(self.mask(index))).astype(np.float32)
            return even_out(plane, seen)

        return self._keep("gray", index, make)

    def hidden(self, index: int) -> np.ndarray:
        """(h, w) bool at ``map`` size: what the mask touches."""
        return self._keep("hidden", index, lambda: self.map.shrink_mask(self.mask(index)))

    def hidden_look(self, index: int) -> np.ndarray:
        """(h, w) bool at ``look`` size: what the mask touches."""
        return self._keep("hidden_look", index, lambda: self.look.shrink_mask(self.mask(index)))


def even_out(plane: np.ndarray, seen: np.ndarray, sigma: float = 12.0, floor: float = 4.0):
    """uint8 of (plane - local mean) / (local deviation + floor). The unseen does not count and
    fades to the mean, so that its outline does not move points beside it."""

    side = 2 * round(2 * sigma / 2) + 1

    def local(picture: np.ndarray) -> np.ndarray:
        return cv2.blur(picture, (side, side))

    weight = np.maximum(local(seen), 1e-3)
    mean = local(plane * seen) / weight
    variance = local(plane * plane * seen) / weight - mean * mean
    even = (plane - mean) / (np.sqrt(np.maximum(variance, 0)) + floor)
    even *= cv2.blur(cv2.erode(seen, np.ones((FADE_PX, FADE_PX))), (FADE_PX, FADE_PX))
    return np.clip(128 + 45 * even, 0, 255).astype(np.uint8)


def grown_box(mask: np.ndarray, margin: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of what is above 0, with ``margin`` pixels around, inside the picture."""
    x, y, w, h = cv2.boundingRect((mask > 0).astype(np.uint8))
    height, width = mask.shape
    return (
        max(0, x - margin),
        max(0, y - margin),
        min(width, x + w + margin),
        min(height, y + h + margin),
    )
