# SPDX-License-Identifier: GPL-3.0-or-later
"""A job folder as this Blender sees it: its settings, where it came from, how far it is."""

from __future__ import annotations

import enum
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core import console, job, protocol, schema
from ..core.answers.report import Report
from ..core.answers.typed import to_json
from ..core.errors import BadRequest, Cancelled, InvalidJob, UserError, WanError, from_os_error
from ..core.files import data_folder, read_json, write_json
from ..core.job_pictures import locate_pictures, take_pictures
from ..core.lock import Claim
from ..core.result import RESULT, find_result, verify
from ..core.settings import Job
from ..schedule.check import check_settings
from ..timeline.background import BackgroundExport
from ..timeline.place import Placement, read_placement
from ..timeline.shot import ShotRequest
from .maker import is_ours, mark

ORIGIN = "origin.json"  # for the host alone: the engine does not read it


class Phase(enum.Enum):
    EXPORTING = "exporting"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass
class LocalJob:
    """One job folder. ``request``, ``exporter`` and ``claim`` are there while it is exporting."""

    folder: Path
    settings: Job
    placement: Placement
    choices: dict[str, Any]  # mattes and span
    phase: Phase
    request: ShotRequest | None = None
    exporter: BackgroundExport | None = None
    claim: Claim | None = None
    progress: protocol.Progress | None = None
    error: WanError | None = None
    cancelling: bool = False
    wants_placing: bool = False
    placed: bool = False
    foreign: bool = False  # made elsewhere: it is named as such, and asked about before it runs
    report: Report | None = None  # once it is done

    @property
    def at(self) -> protocol.Progress:
        """Where it is, also before it has said so."""
        return self.progress or protocol.Progress(str(self.folder), self.phase.value)

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def active(self) -> bool:
        return self.phase in (Phase.EXPORTING, Phase.QUEUED, Phase.RUNNING)

    @property
    def waits(self) -> bool:
        """Whether it has ended and the user has to say what becomes of it."""
        unplaced = self.phase is Phase.DONE and not self.placed and not self.wants_placing
        return unplaced or self.phase is Phase.FAILED

    @property
    def recipe(self) -> dict[str, Any]:
        """What the result strip carries: enough to run the job again, and how it was treated."""
        treated = self.report and self.report.hygiene
        treatment = {"hygiene": to_json(treated)} if treated else {}
        settings = locate_pictures(self.folder, self.settings)
        return {"job": schema.to_dict(settings), **self.choices, **treatment}

    @property
    def reach(self) -> str:
        """What running it reads and writes, in words."""
        settings = self.settings
        loras = len(settings.loras) + sum(len(stage.loras) for stage in settings.stages)
        model = settings.model.path or "the bundled model"
        return (
            f"{self.folder} was not made on this machine. Running it reads the model {model}"
            f"{f' and {loras} LoRA files' if loras else ''} and the frames in that folder, and "
            "writes into that folder."
        )

    @property
    def answer(self) -> dict[str, Any]:
        """What became of it, once it is done, for a script or the command line."""
        result = str(find_result(self.folder))
        return {"job": str(self.folder), "result": result, "report": to_json(self.report)}

    def write_origin(self) -> None:
        """Write where the job comes from. Raises DiskFull."""
        origin = {
            "placement": asdict(self.placement),
            "choices": self.choices,
            "maker": mark(self.folder, data_folder()),
        }
        try:
            write_json(self.folder / ORIGIN, origin)
        except OSError as error:
            raise from_os_error(error, "creating the job folder") from error

    def discard_export(self) -> None:
        """End an export that is under way and remove its folder, on a thread: thousands of frames
        take a while to delete."""
        threading.Thread(target=_discard, args=(self.exporter, self.folder, self.claim)).start()
        self.request = self.exporter = self.claim = None


def phase_after(error: WanError) -> Phase:
    """What a job is that ended with ``error``."""
    return Phase.CANCELLED if isinstance(error, Cancelled) else Phase.FAILED


def _discard(exporter: BackgroundExport | None, folder: Path, claim: Claim) -> None:
    if exporter:
        exporter.cancel()
    claim.close()
    shutil.rmtree(folder, ignore_errors=True)


def begin(
    request: ShotRequest,
    settings: Job,
    folder: Path,
    placement: Placement,
    exporter: BackgroundExport | None = None,
) -> LocalJob:
    """The folder of a job that is to be exported, by ``exporter`` or else in this thread. Raises
    WanError, and then no folder stays."""
    check_settings(settings, request.frames)
    asked = request.to_dict()
    choices = {"mattes": asked["mattes"], "span": asked["span"]}
    local = LocalJob(folder, settings, placement, choices, Phase.EXPORTING, request)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, "creating the job folder") from error
    local.claim = Claim(folder)
    try:
        local.write_origin()
        local.settings = take_pictures(folder, settings)
        if exporter:
            local.exporter = exporter
            exporter.start(request, folder, settings=local.settings)
    except WanError:
        local.claim.close()
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return local


def read_folder(folder: Path) -> LocalJob:
    """The job in a folder made earlier, by this Blender or another. Reads files only, so that it
    may be called on a thread. Raises InvalidJob."""
    settings = job.read(folder)
    path = folder / ORIGIN
    try:
        origin = read_json(path)
        placement, choices = read_placement(origin["placement"]), dict(origin["choices"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidJob(f"{path} cannot be read: {error}.", "Export the shot again.") from error
    local = LocalJob(folder, settings, placement, choices, Phase.DONE)
    local.foreign = not is_ours(folder, origin.get("maker"), data_folder())
    local.placed = "placed" in job.read_events(folder)
    result = find_result(folder)
    try:
        if result is None:
            raise UserError("The job was interrupted.", "Run it again, or dismiss it.")
        local.report = verify(result)
    except UserError as error:
        local.phase, local.error = Phase.FAILED, error
    return local


def make_room(folder: Path, finished: bool = False) -> None:
    """Take over a folder with an unfinished job of ours, so that a command that was killed can be
    repeated; with ``finished``, one that is done too. Raises BadRequest for any other that is not
    empty, JobBusy while somebody works on the job."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / ORIGIN).is_file():
        raise BadRequest(f"{folder} is not empty.", "Give a new or empty folder.")
    if (folder / RESULT).exists() and not finished:
        raise BadRequest(f"{folder} holds a result.", "Give a new or empty folder.")
    with Claim(folder):
        job.clear(folder)


def print_progress() -> Callable[[LocalJob], None]:
    """To be called with a job, often: it prints lines on stderr now and then."""
    show = console.ProgressPrinter("wan_blender: ")
    return lambda local: show(local.at)
