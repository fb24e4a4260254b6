# SPDX-License-Identifier: GPL-3.0-or-later
"""Latents to files: decode, match, composite, write, read back and measure.

The VAE decodes on the calling thread. What follows runs on threads beside it, for each frame in two
steps: what is read around the mask, and, once the frames near it are read too, the rest. Only the
part of the canvas that the patch can touch is worked on.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ..core import job as jobs
from ..core.mask_settings import Output
from ..masks.grid import frame_footprint, frames_of_group, group_of_frame
from .frames import vae as codec
from .frames.composite import difference_outside, matte_on_canvas, over, patch
from .frames.files import read_frame, to_mask, write_frame
from .frames.harmonise import reduced
from .frames.kept import Part
from .frames.seam_score import (
    SMALL,
    EdgeScore,
    find_jumps,
    mean_visible,
    near_cuts,
    score_edge,
)
from .frames.seams import (
    RING_PX,
    Measured,
    Seam,
    SeamMeter,
    measure_seam,
    ring_around,
)
from .matching import Look, look_at, look_at_kept, matched, reach_of
from .plan import Plan
from .start_frame import delivered_start
from .watch import Watch

Measure = Callable[[Callable[[], None]], Measured]
Stamp = tuple[int, int]  # bytes and time of change, of a file

WORKERS = min(4, os.cpu_count() or 1)
WAITING = 2 * WORKERS  # frames that may wait to be written before the decoder has to
MARGIN_PX = RING_PX + 1  # around the patch: colours, grain and edges are read there


def write_frames(
    plan: Plan, latents: torch.Tensor, part: Path, tiled: bool, watch: Watch
) -> Measure:
    """Write patch/ (and frames/) into ``part``, frame by frame; ``tiled`` decodes in tiles.
    Returns the function that says what was measured on the files."""
    for name in _folders(plan.job.output):
        (part / name).mkdir(parents=True, exist_ok=True)  # begun again when memory ran out
    finisher = Finisher(plan, part)
    with ThreadPoolExecutor(WORKERS, "frames") as pool:
        try:
            found = _finish_all(finisher, _decoded(plan, latents, tiled), pool, watch)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return partial(_describe, finisher, found)


def _finish_all(
    finisher: Finisher,
    decoded: Iterator[np.ndarray | None],
    pool: ThreadPoolExecutor,
    watch: Watch,
) -> list[Finished]:
    """What each frame is finished with, in order. A frame is examined before any that is finished
    after it, so that no thread waits for one that has not begun."""
    looks: dict[int, Future[Look]] = {}
    waiting: deque[Future[Finished]] = deque()
    found: list[Finished] = []
    count, reach = len(finisher.plan.shot), finisher.reach

    def take() -> None:
        found.append(waiting.popleft().result())
        looks.pop(len(found) - 1 - reach, None)
        watch.step(len(found))

    for index in range(count + reach):
        if index < count:
            looks[index] = pool.submit(finisher.look, index, next(decoded))
        if index >= reach:
            waiting.append(pool.submit(finisher.finish, index - reach, dict(looks)))
        while waiting and (waiting[0].done() or len(waiting) > WAITING):
            take()
    while waiting:
        take()
    return found


def _folders(output: Output) -> list[str]:
    return [jobs.PATCH, jobs.FRAMES] if output.full_frames else [jobs.PATCH]


def _decoded(plan: Plan, latents: torch.Tensor, tiled: bool) -> Iterator[np.ndarray | None]:
    """Each frame of the shot as the model's picture (H, W, 3), of which only what is generated and
    a margin was decoded; None where nothing is covered. After the last frame that is covered
    nothing is decoded: no earlier one depends on it."""
    covered = _covered(plan)
    stop = group_of_frame(int(np.flatnonzero(covered)[-1])) + 1
    index = 0
    box = _generated_box(plan.masks.latent)
    chunks = codec.decode(plan.bundle.vae, latents, box, codec.TILE if tiled else 0, stop)
    for chunk in chunks:
        for picture in chunk[: len(covered) - index]:
            yield picture if covered[index] else None
            index += 1
    yield from [None] * (len(covered) - index)


def _covered(plan: Plan) -> np.ndarray:
    """(T,) of the frames that the patch may show on: masked, or in a group that is generated."""
    frames = len(plan.shot)
    covered = np.array([box is not None for box in plan.masks.extent.boxes])
    for group in np.flatnonzero(plan.masks.latent.any((1, 2))):
        covered[frames_of_group(int(group), frames)] = True
    return covered


def _generated_box(latent: np.ndarray, margin: int = 4) -> tuple[int, int, int, int]:
    """y0, y1, x0, x1 in latent cells: all that is generated on any frame, and ``margin`` cells."""
    _, height, width = latent.shape
    ys = np.flatnonzero(latent.any((0, 2)))
    xs = np.flatnonzero(latent.any((0, 1)))
    return (
        max(int(ys[0]) - margin, 0),
        min(int(ys[-1]) + 1 + margin, height),
        max(int(xs[0]) - margin, 0),
        min(int(xs[-1]) + 1 + margin, width),
    )


@dataclass(frozen=True)
class Finished:
    """What was measured on a frame's files, which had ``stamps`` then."""

    difference: float
    seam: Seam
    stamps: list[Stamp]
    edge: EdgeScore | None = None
    small: np.ndarray | None = None  # of what is shown, where new frames begin or end


class Finisher:
    """The two steps of each frame; any thread may take them."""

    def __init__(self, plan: Plan, part: Path) -> None:
        self.plan, self._output = plan, plan.job.output
        self._folders = [part / name for name in _folders(self._output)]
        self._decoded = plan.region.part(_generated_box(plan.masks.latent))
        self._part = _work_part(plan, self._decoded)
        self._start = delivered_start(plan)
        self._canvas = (plan.shot.height, plan.shot.width)
        self.made = [box is not None for box in plan.masks.extent.boxes]
        self._near_cuts = near_cuts(self.made)

    @property
    def reach(self) -> int:
        """How many frames to each side a frame's match depends on."""
        return reach_of(self._output)

    def look(self, index: int, generated: np.ndarray | None) -> Look:
        """The plate with the model's picture over it, and what that lacks."""
        plan, region = self.plan, self.plan.region
        if generated is None and self._output.match_cuts == "off":
            return Look(None)
        plate = plan.shot.picture(index, self._part)
        if generated is None:
            return look_at_kept(self._output, plate)
        picture = plate.copy()
        rows, columns = self._decoded
        shown = region.restore(generated)
        picture[_within(self._decoded, self._part)] = shown[
            rows.start - region.y : rows.stop - region.y,
            columns.start - region.x : columns.stop - region.x,
        ]
        if not self.reach:
            return Look(picture)
        mask = plan.shot.mask(index, self._part)
        if not mask.any() and self._output.matte != "footprint":  # its group has a masked frame
            return look_at_kept(self._output, plate)
        seen = (mask, self._ring(mask), self._generated(index))
        return look_at(self._output, plate, picture, *seen)

    def _generated(self, index: int) -> np.ndarray:
        """Pixels of generated cells, bool."""
        region, cells = self.plan.region, np.zeros(self._canvas, bool)
        shown = frame_footprint(self.plan.masks.latent, region.grid, index)
        cells[region.window] = region.restore_cells(shown) > 0
        return cells[self._part]

    def _ring(self, mask: np.ndarray) -> np.ndarray:
        """Where the frame with ``mask`` is read: beside that, where it was decoded."""
        ring = ring_around(mask)
        inside = np.zeros_like(ring)
        inside[_within(self._decoded, self._part)] = True
        return ring & inside

    def finish(self, index: int, looks: dict[int, Future[Look]]) -> Finished:
        """Match, composite and write frame ``index``, and measure what was written; ``looks`` has
        those of the frames near it."""
        plan, part = self.plan, self._part
        plate = plan.shot.plate(index)
        picture = self._matched(index, {i: look.result() for i, look in looks.items()})
        alpha = np.zeros(plate.shape[:2], np.float32)
        if picture is not None:
            seen = (plan.shot, plan.region, plan.masks, self._output, index, part)
            alpha[part] = matte_on_canvas(*seen)
        else:
            picture = plan.shot.picture(index, part)
        pictures = self._composite(plate, picture, alpha[part])
        found = self._write(index, plate, alpha, pictures)
        return replace(found, edge=self._edge(index, picture) if alpha.any() else None)

    def _edge(self, index: int, picture: np.ndarray) -> EdgeScore | None:
        mask = self.plan.shot.mask(index, self._part)
        own, made = (p / 2 + 0.5 for p in (self.plan.shot.picture(index, self._part), picture))
        return score_edge(own, made, mask, self._generated(index) & self._ring(mask))

    def _matched(self, index: int, looks: dict[int, Look]) -> np.ndarray | None:
        picture = looks[index].picture
        if picture is None:
            return None
        if index == 0 and self._start is not None:
            return self._start[self._part]
        return matched(self._output, index, looks, self.plan.job.sampling.seed)

    def _composite(
        self, plate: np.ndarray, picture: np.ndarray, alpha: np.ndarray
    ) -> list[np.ndarray]:
        """The frames to write, whole: where nothing is worked on a patch is clear and a full frame
        the plate."""
        part, where_clear = self._part, self.plan.job.shot.alpha
        replaces = plate.shape[2] == 4 and where_clear == "replace"
        laid = plate.copy() if replaces else np.zeros((*plate.shape[:2], 4), plate.dtype)
        tone = self.plan.shot.tone
        laid[part] = patch(plate[part], picture, alpha, where_clear, tone)
        if not self._output.full_frames:
            return [laid]
        full = plate.copy()
        full[part] = over(plate[part], picture, alpha, where_clear, tone)
        return [laid, full]

    def _write(
        self, index: int, plate: np.ndarray, alpha: np.ndarray, pictures: list[np.ndarray]
    ) -> Finished:
        for path, picture in zip(self.files(index), pictures, strict=True):
            write_frame(path, picture)
        return self.measure(index, plate, alpha)

    def files(self, index: int) -> list[Path]:
        return [folder / jobs.picture_name(index, self.plan.job.shot) for folder in self._folders]

    def measure(self, index: int, plate: np.ndarray, alpha: np.ndarray) -> Finished:
        """Read the files back: 0 difference outside is a fact, not a promise."""
        paths = self.files(index)
        stamps = [_stamp(path) for path in paths]
        files = [read_frame(path) for path in paths]
        laid, below = to_mask(files[0][self._part]), to_mask(plate[self._part][..., :3])
        shown = laid[..., 3:] * laid[..., :3] + (1 - laid[..., 3:]) * below
        seam = measure_seam(below, shown, alpha[self._part])
        small = reduced(shown, SMALL) if index in self._near_cuts else None
        return Finished(difference_outside(plate, alpha, files), seam, stamps, small=small)

    def measure_again(self, index: int, before: Finished) -> Finished:
        """``before``, unless a file is not the one that was measured."""
        if [_stamp(path) for path in self.files(index)] == before.stamps:
            return before
        plan = self.plan
        alpha = matte_on_canvas(plan.shot, plan.region, plan.masks, self._output, index)
        return replace(self.measure(index, plan.shot.plate(index), alpha), edge=before.edge)


def _describe(finisher: Finisher, found: list[Finished], check: Callable[[], None]) -> Measured:
    worst, meter = 0, SeamMeter()
    edges: list[EdgeScore | None] = []
    small: dict[int, np.ndarray] = {}
    for index, measured in enumerate(found):
        check()
        measured = finisher.measure_again(index, measured)
        worst = max(worst, measured.difference)
        meter.take(measured.seam)
        edges.append(measured.edge)
        if measured.small is not None:
            small[index] = measured.small
    seam = replace(meter.report(), visible=mean_visible(edges))
    return Measured(worst, seam, find_jumps(finisher.made, small))


def _stamp(path: Path) -> Stamp:
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def _work_part(plan: Plan, decoded: Part) -> Part:
    """What of the canvas the patch can touch or is read for it: all that is decoded or masked on
    any frame, and MARGIN_PX."""
    x0, y0, x1, y1 = plan.masks.extent.box
    spans = zip(decoded, ((y0, y1), (x0, x1)), (plan.shot.height, plan.shot.width), strict=True)
    rows, columns = (
        slice(
            max(min(known.start, low) - MARGIN_PX, 0),
            min(max(known.stop, high) + MARGIN_PX, side),
        )
        for known, (low, high), side in spans
    )
    return rows, columns


def _within(part: Part, outer: Part) -> Part:
    """Index of ``part`` of the canvas in its part ``outer``."""
    rows, columns = (
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, outer, strict=True)
    )
    return rows, columns
