# SPDX-License-Identifier: GPL-3.0-or-later
"""Two takes of one job, with hygiene and without: the second folder, and what the pair shows.

A job folder that holds ``compare_with`` names the folder beside it with the same take without
hygiene. When its own run is done, both are measured, on the part of the canvas that the model saw
and at the size it saw it. Leading frames that are the same in both takes, as a given start frame
is, are left out.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....core import job as jobs
from ....core import job_pictures
from ....core.answers.hygiene import TakeMeasures, Takes
from ....core.errors import BadRequest, InvalidJob, LengthMismatch, from_os_error
from ....core.files import read_bytes
from ....core.job_pictures import START
from ....core.lock import LOCK, refuse_links
from ....core.result import PART, RESULT, find_result, read_report
from ....core.settings import Job
from ....hygiene.bands import resize
from ....hygiene.maps import folder_without, without_hygiene
from ...frames.files import read_frame, to_mask
from ...frames.pictures import read_colour
from ..pictures import write_image
from .frequencies import Drawing, draw_text, draw_tile
from .motion import pair

SHOWN = 6  # frames of each take on the sheet
TILE, INK = 240, (230, 230, 230)
OWN = (RESULT, PART, "job.json", jobs.JOURNAL, jobs.LOG, LOCK, jobs.CANCEL)
MEASURES = {
    "motion": "motion, px/frame",
    "moving": "part that moves",
    "crawl": "crawl, 8-bit levels",
    "crawl_ratio": "crawl / detail",
    "first_psnr": "first new frame, dB",
    "first_ssim": "the same, SSIM",
}


def make_without(folder: Path) -> Path:
    """The folder beside ``folder`` with the same job, hygiene off, which it is to be compared with.

    Frames are links where the disk has them. A result of the very same job stays, so a long pair
    goes on where it stopped. Raises InvalidJob when hygiene is off anyway.
    """
    job = jobs.read(folder)
    without, other = without_hygiene(job), folder_without(folder)
    refuse_links(folder)
    try:
        if not other.exists() or jobs.read(other) != without:
            shutil.rmtree(other, ignore_errors=True)
            ignore = shutil.ignore_patterns(*OWN, jobs.COMPARE_WITH)
            shutil.copytree(folder, other, ignore=ignore, copy_function=_link)
            jobs.create(other, without)
        jobs.compare_with(folder, other)
    except OSError as error:
        raise from_os_error(error, "making the take without hygiene") from error
    return other


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@dataclass(frozen=True)
class Take:
    """A job folder and the result of its run, which may not have been published yet."""

    folder: Path
    result: Path
    job: Job

    @classmethod
    def read(cls, folder: Path, result: Path | None = None) -> Take:
        """Raises InvalidJob when there is no job, or no result of it."""
        job, result = jobs.read(folder), result or find_result(folder)
        if result is None:
            raise InvalidJob(f"{folder} holds no finished result to compare.", "Run it first.")
        return cls(folder, result, job)

    def frame(self, index: int) -> np.ndarray:
        """(H, W, 3) in 0..1 on the canvas: the patch over the plate."""
        patch = read_frame(self.result / jobs.PATCH / jobs.picture_name(index, self.job.shot))
        alpha = to_mask(patch[..., 3:])
        return alpha * _rgb(patch) + (1 - alpha) * self.plate(index)

    def plate(self, index: int) -> np.ndarray:
        name = jobs.picture_name(index, self.job.shot)
        return _rgb(read_frame(self.folder / jobs.PLATE / name))

    def start(self) -> np.ndarray:
        """The start picture where it has the shot's size, else the plate's first frame."""
        files = job_pictures.pictures(self.folder, self.job.model_mask, START)
        plate = self.plate(0)
        start = _rgb(read_colour(files[0])) if files else plate
        return start if start.shape == plate.shape else plate


def compare_with(folder: Path, result: Path, check: Callable[[], None]) -> Takes | None:
    """The comparison when the job in ``folder`` has another take to be compared with, else None.
    ``result`` holds its frames; the contact sheet is written there. A comparison that cannot be
    made says why and fails nothing, but ``check`` may raise Cancelled."""
    named = folder / jobs.COMPARE_WITH
    if not named.is_file():
        return None
    try:
        name = Path(read_bytes(named, 4096).decode("utf-8", "replace").strip()).name
        if not name.isprintable() or name in ("", ".."):
            raise BadRequest(f"{named} names no folder beside {folder}.")
        other = folder.with_name(name)
        takes = Take.read(other), Take.read(folder, result)
        return compare(*takes, result / jobs.TAKES, check)
    except OSError as error:
        return Takes(str(from_os_error(error, "comparing the takes")))
    except BadRequest as error:
        return Takes(str(error))


def compare(
    without: Take, treated: Take, sheet: Path, check: Callable[[], None] = lambda: None
) -> Takes:
    """Measure two takes of one shot and seed, and draw them on ``sheet``.

    Raises InvalidJob or LengthMismatch when they are not that.
    """
    _check_pair(without.job, treated.job)
    cut, count = _cut_of(without.result), without.job.shot.frame_count

    def frames(take: Take, first: int) -> Iterator[np.ndarray]:
        for index in range(first, count):
            check()
            yield cut(take.frame(index))

    pairs = zip(frames(without, 0), frames(treated, 0), strict=True)
    same = next((i for i, (a, b) in enumerate(pairs) if (a != b).any()), count)
    first = same if count - same >= 2 else 0
    measured = pair(frames(without, first), frames(treated, first), cut(treated.start()))
    found = Takes(
        without_folder=without.folder.name,
        seed=treated.job.sampling.seed,
        mode=treated.job.hygiene.mode,
        frames=count,
        same_frames=same,
        without=_finite(measured["without"]),
        treated=_finite(measured["with"]),
        change=_finite(measured["change"]),
    )
    shown = np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int).tolist()
    rows = [[cut(take.frame(i)) for i in shown] for take in (without, treated)]
    write_image(sheet, _draw(shown, *rows, found))
    return found


def _check_pair(without: Job, treated: Job) -> None:
    a, b = without.shot, treated.shot
    if (a.frame_count, a.width, a.height) != (b.frame_count, b.width, b.height):
        raise LengthMismatch(
            f"The takes have {a.frame_count} and {b.frame_count} frames of {a.width} x {a.height} "
            f"and {b.width} x {b.height} pixels.",
            "Compare takes of one shot.",
        )
    if without.sampling.seed != treated.sampling.seed:
        raise InvalidJob(
            f"The takes have seeds {without.sampling.seed} and {treated.sampling.seed}: what they "
            "differ in would not be hygiene's doing.",
            "Generate both with one seed.",
        )


def _cut_of(result: Path) -> Callable[[np.ndarray], np.ndarray]:
    """From the canvas to what the model saw, at its size where that is smaller; as its report
    says."""
    size = read_report(result).size
    if size is None:
        raise InvalidJob(f"{result} was made without a model.", "Compare takes of a model.")
    x, y, width, height = size.box
    model_width, model_height = size.model_pixels

    def cut(picture: np.ndarray) -> np.ndarray:
        part = np.ascontiguousarray(picture[y : y + height, x : x + width])
        if model_width >= width and model_height >= height:
            return part
        return resize(part, model_width, model_height)

    return cut


def _rgb(picture: np.ndarray) -> np.ndarray:
    """Integer gray or colour -> (H, W, 3) float32 in 0..1."""
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, 2)
    return to_mask(picture[..., :3]).clip(0, 1)


def _finite(values: dict[str, float]) -> TakeMeasures:
    """What is equal, and so infinitely alike, is None."""
    return TakeMeasures(**{k: round(v, 5) for k, v in values.items() if math.isfinite(v)})


def _draw(
    shown: list[int], without: list[np.ndarray], treated: list[np.ndarray], found: Takes
) -> Drawing:
    """Frames of both takes, what they differ in, and the numbers."""
    height = max(round(TILE * without[0].shape[0] / without[0].shape[1]), 60)
    difference = [0.5 + 2 * (b - a) for a, b in zip(without, treated, strict=True)]
    rows = [
        [draw_tile(frame, TILE, height) for frame in row] for row in (without, treated, difference)
    ]
    names = "without", f"with: {found.mode}", "difference, doubled"
    for row, name in zip(rows, names, strict=True):
        draw_text(row[0], name, 6, 18, INK, 0.45)
    for tile, index in zip(rows[0], shown, strict=True):
        draw_text(tile, f"frame {index}", 6, height - 8, INK, 0.4)
    pictures = np.vstack([np.hstack(row) for row in rows])
    return np.vstack([pictures, _table(found, max(pictures.shape[1], 480))[:, : pictures.shape[1]]])


def _table(found: Takes, width: int) -> Drawing:
    lines = [("", "without", "with", "change")]
    for key, words in MEASURES.items():
        values = [getattr(take, key) for take in (found.without, found.treated, found.change)]
        lines.append((words, *("exact" if v is None else f"{v:.3f}" for v in values)))
    table = np.full((12 + 20 * len(lines), width, 3), 24, np.uint8)
    for number, line in enumerate(lines):
        for x, words in zip((10, 200, 290, 380), line, strict=True):
            draw_text(table, words, x, 20 + 20 * number, INK, 0.45)
    return table
