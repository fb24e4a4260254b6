# SPDX-License-Identifier: GPL-3.0-or-later
"""What a condition may look at: the shot through the region, at the model's size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce

import numpy as np

from ...core import job_pictures
from ...core.job_pictures import END, REFERENCES, START
from ...core.mask_settings import ModelMask
from ...masks.grid import pad_to_tokens
from ..frames.files import ShotFrames, digest, to_model
from ..frames.pictures import fill_size, on_white, read_colour, scale_inside
from ..frames.region import Region

Masks = Callable[[int], np.ndarray]  # of a frame: (H, W) in [0, 1]


@dataclass(frozen=True)
class Scene:
    """Frames past the shot's end repeat its last frame. ``check`` may raise Cancelled; ``look``
    is what hygiene makes of a picture at the model's size before it is shown, told the frame of
    the shot that it is, or its name; None shows pictures as they are. ``treated`` says all that
    decides what ``look`` does."""

    shot: ShotFrames
    region: Region
    settings: ModelMask
    check: Callable[[], None] = lambda: None
    look: Callable[[np.ndarray, int | str], np.ndarray] | None = None
    treated: str = ""

    @property
    def frames(self) -> int:
        """4n+1: what the VAE is given."""
        return self.region.grid.padded_frames

    @cached_property
    def content(self) -> str:
        """All that decides what is seen: hashes of files, and settings."""
        folder, names = self.shot.folder, (START, END, REFERENCES)
        files = [p for n in names for p in job_pictures.pictures(folder, self.settings, n)]
        own = self.settings.shape == "own"
        shown = f"{self.shot.content(own)} {digest(files)} {self.region} {self.settings}"
        return f"{shown} {self.treated}"

    def picture(self, index: int) -> np.ndarray:
        """(H, W, 3) float32 in [-1, 1], padded to the model's size."""
        index = self._inside(index)
        box = self.region.fit(self.shot.picture(index, self.region.window))
        return self._seen(pad_to_tokens(box, self.region.grid), index)

    def mask(self, index: int) -> np.ndarray:
        """The model's mask (H, W) in [0, 1], 1 = generate, padded like the picture."""
        return pad_to_tokens(self._grown_mask(self._inside(index)), self.region.grid)

    @cached_property
    def _grown_mask(self) -> Masks:
        """The mask of each frame as ``grow_time`` has it, from no more frames than it reaches."""
        before, after = self.settings.grow_before, self.settings.grow_after
        count = len(self.shot)
        kept = _over_time(self._drawn_mask, np.minimum, max(-before, 0), max(-after, 0), count)
        return _over_time(kept, np.maximum, max(after, 0), max(before, 0), count)

    def _drawn_mask(self, index: int) -> np.ndarray:
        if self.settings.shape == "own":
            mask = self.shot.model_mask(index)
        else:
            mask = _reshape(self.shot.made_mask(index), self.settings.shape)
        return self.region.mask_as_seen(mask, grow_px=self.settings.grow_px)

    def given(self, name: str) -> np.ndarray | None:
        """The job's start or end picture as the model sees it, or None. A picture of the plate's
        size is cropped like the plate; any other is fitted to fill the model's frame."""
        files = job_pictures.pictures(self.shot.folder, self.settings, name)
        if not files:
            return None
        picture = to_model(read_colour(files[0]), self.shot.tone)
        if picture.shape[:2] == (self.shot.height, self.shot.width):
            fitted = self.region.crop_padded(picture)
        else:
            grid = self.region.grid
            fitted = fill_size(picture, grid.padded_width, grid.padded_height)
        return self._seen(fitted, name)

    def references(self) -> list[np.ndarray]:
        """Pictures of what to generate, whole, on white, at the model's size."""
        files = job_pictures.pictures(self.shot.folder, self.settings, REFERENCES)
        size = self.region.grid.padded_width, self.region.grid.padded_height
        tone = self.shot.tone
        pictures = [scale_inside(to_model(read_colour(path), tone), *size) for path in files]
        return [
            on_white(self._seen(picture, f"{REFERENCES} {number}"), *size)
            for number, picture in enumerate(pictures, 1)
        ]

    def _seen(self, picture: np.ndarray, which: int | str) -> np.ndarray:
        return self.look(picture, which) if self.look else picture

    def _inside(self, index: int) -> int:
        return min(index, len(self.shot) - 1)


def _over_time(read: Masks, pick: np.ufunc, back: int, ahead: int, count: int) -> Masks:
    """Of each frame, the largest or smallest values from ``back`` frames before to ``ahead`` frames
    after it, of ``count``. Holds as many frames."""
    if not back and not ahead:
        return read
    kept = lru_cache(back + ahead + 1)(read)  # frames are asked for in order

    def mask(index: int) -> np.ndarray:
        return reduce(pick, map(kept, range(max(index - back, 0), min(index + ahead + 1, count))))

    return mask


def _reshape(mask: np.ndarray, shape: str) -> np.ndarray:
    if shape == "same":
        return mask
    hard = (mask > 0.5).astype(np.float32)
    if shape == "box" and hard.any():
        ys, xs = np.flatnonzero(hard.any(1)), np.flatnonzero(hard.any(0))
        hard[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1] = 1
    return hard
