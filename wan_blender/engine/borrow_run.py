# SPDX-License-Identifier: GPL-3.0-or-later
"""Borrowing as a part of a job: before the model, or instead of it.

    first   the model sees the plate with borrowed pixels in it, and generates what is left
    only    no model is opened; what no frame shows stays the plate's

What is borrowed waits in the job folder's ``borrowed.part``, frame by frame, so that a long shot
stays on disk; it is gone when the run ends.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core import job as jobs
from ..core import schema
from ..core.answers.report import BorrowReport, MaskFound, Report, ShotNotes
from ..core.settings import Job
from .borrow.notes import SURE
from .borrow.shot import Borrower
from .frames.composite import difference_outside, over, patch
from .frames.files import (
    ShotFrames,
    read_frame,
    stored,
    to_mask,
    to_model,
    write_frame,
    write_png,
)
from .frames.masks import matte, measure_mask
from .frames.seams import Measured, SeamMeter
from .watch import Watch

BORROWED = "borrowed.part"
PICTURES, LEFT = "pictures", "left"


@dataclass(frozen=True)
class Borrowing:
    """``folder`` holds the plate with what is borrowed in it, and the mask of what is left;
    ``share`` is the part of the mask that is borrowed, ``whole`` whether nothing is left."""

    folder: Path
    job: Job
    shot: ShotFrames
    share: float
    whole: bool
    notes: list[str]

    @property
    def needs_model(self) -> bool:
        return self.job.fill.borrow == "first" and not self.whole

    def show(self, check: Callable[[], None]) -> ShotFrames:
        """The shot as the model is to see it: borrowed pixels are its plate, what is left is its
        mask."""
        frames, shot = range(len(self.shot)), self.job.shot
        plate = [self.folder / PICTURES / jobs.picture_name(index, shot) for index in frames]
        left = [self.folder / LEFT / jobs.frame_name(index) for index in frames]
        return ShotFrames(self.shot.folder, self.job, check, (plate, left))

    def write(self, part: Path, watch: Watch) -> Measured:
        """Write the result's frames into ``part`` and measure them. Where a model has written what
        was left there already, that is laid over what is borrowed."""
        output, seen, generated = self.job.output, self.show(watch.check), self.needs_model
        folders = [jobs.PATCH, jobs.FRAMES] if output.full_frames else [jobs.PATCH]
        for name in folders:
            (part / name).mkdir(parents=True, exist_ok=True)
        worst, seam = 0, SeamMeter()
        for index in range(len(self.shot)):
            plate, picture, mask = self.shot.plate(index), seen.plate(index), self.shot.mask(index)
            name = jobs.picture_name(index, self.job.shot)
            if generated:
                picture = lay_over(picture, read_frame(part / jobs.PATCH / name))
            else:
                mask = np.where(seen.mask(index) > 0, 0, mask)
            alpha = matte(mask, mask > 0, output)
            tone = self.shot.tone
            given = to_model(picture, tone)
            files = [patch(plate, given, alpha, self.job.shot.alpha, tone)]
            if output.full_frames:
                files.append(over(plate, given, alpha, tone=tone))
            for kind, file in zip(folders, files):
                write_frame(part / kind / name, file)
            files = [read_frame(part / kind / name) for kind in folders]
            worst = max(worst, difference_outside(plate, alpha, files))
            shown = lay_over(plate, files[0])[..., :3]
            seam.add(to_mask(plate[..., :3]), to_mask(shown), alpha)
        return Measured(worst, seam.report())

    def describe(self) -> BorrowReport:
        return BorrowReport(round(self.share, 6), tuple(self.notes))

    def report(self, watch: Watch) -> Report:
        """What a report says where no model had a part in the job."""
        return Report(
            schema=jobs.SCHEMA,
            settings=schema.to_dict(self.job),
            mask=_describe_mask(self.shot),
            borrow=self.describe(),
            seconds={name: round(spent, 3) for name, spent in watch.seconds.items()},
            peak_memory_gb=round(watch.peak_memory_gb, 3),
        )


def describe_borrowing(folder: Path) -> Report:
    """What is known of a job that only borrows before it runs. Raises what reading the shot raises,
    and EmptyMask."""
    job = jobs.read(folder)
    shot = ShotFrames(folder, job)
    shot.check_plate()
    return Report(shot=ShotNotes(notes=tuple(job.shot.notes)), mask=_describe_mask(shot))


def _describe_mask(shot: ShotFrames) -> MaskFound:
    extent = measure_mask(shot)
    return MaskFound(pixels=round(extent.coverage, 6), box=extent.box)


def borrow(folder: Path, watch: Watch) -> Borrowing | None:
    """Borrow what the job in ``folder`` asks for; None where it asks for nothing. Raises what
    reading the shot raises, EmptyMask, and Cancelled."""
    job = jobs.read(folder)
    if job.fill.borrow == "off":
        return None
    shot = ShotFrames(folder, job, watch.check)
    shot.check_plate()
    measure_mask(shot)
    kept = folder / BORROWED
    shutil.rmtree(kept, ignore_errors=True)  # of a run that was killed
    for name in (PICTURES, LEFT):
        (kept / name).mkdir(parents=True)
    borrower = Borrower(shot.plate, shot.mask, len(shot), watch.check)
    whole = True
    for found in borrower:
        mask, sure = shot.mask(found.index), found.confidence >= SURE
        left = np.where(sure, 0, mask)
        whole = whole and not left.any()
        picture = np.where(sure[..., None], found.picture, shot.plate(found.index))
        write_frame(kept / PICTURES / jobs.picture_name(found.index, job.shot), picture)
        levels = np.rint(left * 65535).astype(np.uint16)
        write_png(kept / LEFT / jobs.frame_name(found.index), levels)
        watch.step(found.index + 1)
    notes = borrower.notes(job.shot.frame_start)
    return Borrowing(kept, job, shot, borrower.tally.share, whole, notes)


def lay_over(below: np.ndarray, rgba: np.ndarray) -> np.ndarray:
    """The picture ``rgba`` over ``below`` in its depth; pixels with alpha 0 are those of
    ``below``."""
    alpha = to_mask(rgba[..., 3:]).astype(np.float64)
    mixed = stored(alpha * rgba[..., :3] + (1 - alpha) * below[..., :3], below.dtype)
    return np.concatenate([mixed, below[..., 3:]], 2)
