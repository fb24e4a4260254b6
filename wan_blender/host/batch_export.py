# SPDX-License-Identifier: GPL-3.0-or-later
"""Export of a whole batch, in this Blender: every shot is read before the first is exported, and
what jobs have in common is exported once.

A job that has a result is left alone, and so is one that is exported already from the same .blend;
repeating an export makes what is missing.
"""

from __future__ import annotations

import copy
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import bpy

from ..core import job, schema
from ..core.errors import (
    BadRequest,
    Cancelled,
    DiskFull,
    InvalidBatch,
    JobBusy,
    UserError,
    WanError,
    from_os_error,
)
from ..core.job_pictures import take_pictures
from ..core.lock import Claim, hold
from ..core.result import find_result
from ..core.settings import Job, Shot
from ..farm import exports
from ..farm.manifest import SEED, BatchPlan, BatchShot, Cell
from ..schedule.check import check_settings
from ..timeline import mattes, shot
from ..timeline.export import export
from ..timeline.place import Placement
from ..timeline.shot import ShotRequest
from . import properties, tasks
from .blur_map import require_map, save_map
from .jobs import LocalJob, Phase, make_room

LOCK = ".export.lock"
OnFrame = Callable[[BatchShot, int, int], None]


@dataclass
class ReadJob:
    """One job as it will be exported."""

    cell: Cell
    request: ShotRequest
    settings: Job
    key: str  # of its export


@dataclass
class Exported:
    """What became of each job, by folder name, and of shots that failed."""

    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # exported before, not run yet
    done: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)  # done, from another state of their .blend
    busy: list[str] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)


class BatchExport:
    """``plan`` into the folder ``out``."""

    def __init__(self, plan: BatchPlan, out: Path) -> None:
        self.plan, self.out = plan, out.absolute()
        self._opened = str(bpy.data.filepath)  # what shots without a file of their own mean
        self._dirty = False  # a shot's task has changed settings of the scene

    def read(self) -> list[ReadJob]:
        """Every job of the plan. Raises InvalidBatch that names the line of a shot that its .blend
        does not hold, or cannot be run as it is asked for; then nothing was exported."""
        found = []
        for batch_shot, cells in groupby(self.plan.cells, lambda cell: cell.shot):
            try:
                self._open(batch_shot)
                found += self._read_shot(batch_shot, list(cells))
            except InvalidBatch:
                raise
            except WanError as error:
                self.plan.refuse(batch_shot, error)
        return found

    def run(
        self, jobs: list[ReadJob], on_frame: OnFrame, should_cancel: Callable[[], bool]
    ) -> Exported:
        """Export ``jobs``. A shot that fails is told and does not stop others; a full disk and
        ``should_cancel`` do. Raises DiskFull, Cancelled, JobBusy while another exports there."""
        told = Exported()
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            lock = hold(self.out / LOCK)
        except BlockingIOError as error:
            raise JobBusy(f"{error.strerror} exports into {self.out}.", "Wait for it.") from error
        except OSError as error:
            raise from_os_error(error, "making the folder of the batch") from error
        with lock:
            for key, group in groupby(jobs, lambda read: read.key):
                self._export(key, list(group), told, on_frame, should_cancel)
        return told

    # -- reading

    def _open(self, batch_shot: BatchShot) -> None:
        """Make the shot's file the open one, as it is on disk where a task has changed it."""
        wanted = str(self.plan.blend(batch_shot) or self._opened)
        if wanted == bpy.data.filepath and not (self._dirty and wanted):
            return
        try:
            bpy.ops.wm.open_mainfile(filepath=wanted, load_ui=False)
        except RuntimeError as error:
            raise UserError(
                f"{wanted} cannot be opened: {str(error).strip()}.", "Save it again in Blender."
            ) from error
        self._dirty = False

    def _read_shot(self, batch_shot: BatchShot, cells: list[Cell]) -> Iterator[ReadJob]:
        scene, plate = self._find(batch_shot)
        chosen = [mattes.read_choice(scene, plate, text) for text in batch_shot.mattes]
        base, checked, blend = properties.read(scene), set(), Path(bpy.data.filepath)
        requests: dict[str, tuple[ShotRequest, str]] = {}
        for cell in cells:
            settings, span = copy.deepcopy(base), properties.chosen_span(scene, plate.name)
            for path, value in cell.resolved(self.plan.base).items():
                group, _, name = path.partition(".")
                if group == "span":
                    schema.put(span, name, value)
                else:
                    schema.put(settings, path, value)
            asked = (
                properties.model_matte(settings),
                properties.blur_matte(settings),
                settings.output.place,
            )
            same = json.dumps([asked, schema.to_dict(span)])
            if same not in requests:
                request = properties.read_request(scene, plate, settings, chosen, span)
                requests[same] = request, self._key(request, blend)
            request, key = requests[same]
            alike = json.dumps([same, {k: v for k, v in cell.settings.items() if k != SEED}])
            if alike not in checked:
                checked.add(alike)
                require_map(settings, plate)
                check_settings(settings, request.frames)
            yield ReadJob(cell, request, settings, key)

    def _key(self, request: ShotRequest, blend: Path) -> str:
        if blend.is_file():
            return exports.key_of(request.to_dict(), blend)
        return f"unsaved-{uuid.uuid4().hex}"  # nothing says whether it is still the same

    def _find(self, batch_shot: BatchShot) -> tuple[bpy.types.Scene, bpy.types.Strip]:
        scene = shot.find_scene(batch_shot.scene or None)
        plate = shot.find_plate(scene, batch_shot.strip)
        if batch_shot.task:
            if batch_shot.task not in tasks.TASKS:
                raise BadRequest(
                    f"There is no task {batch_shot.task!r}.", f"Known: {', '.join(tasks.TASKS)}."
                )
            self._dirty = True
            tasks.set_up(scene, plate, batch_shot.task)
        return scene, plate

    # -- exporting

    def _export(
        self,
        key: str,
        group: list[ReadJob],
        told: Exported,
        on_frame: OnFrame,
        should_cancel: Callable[[], bool],
    ) -> None:
        missing = [read for read in group if self._is_missing(read, told)]
        if not missing:
            return
        batch_shot, request = missing[0].cell.shot, missing[0].request
        folder = self.out / exports.EXPORTS / key
        try:
            self._open(batch_shot)
            exported = exports.find_shot(folder)
            if exported is None:
                shutil.rmtree(folder, ignore_errors=True)
                exported = export(
                    request, folder, lambda *count: on_frame(batch_shot, *count), should_cancel
                )
                exports.seal(folder, exported)
            for read in missing:
                if should_cancel():
                    raise Cancelled("The export was cancelled.")
                self._make(read, folder, exported, told)
        except (Cancelled, DiskFull):
            raise
        except WanError as error:
            told.failed.append(
                {"shot": batch_shot.name, "line": batch_shot.line, "error": error.to_dict()}
            )

    def _is_missing(self, read: ReadJob, told: Exported) -> bool:
        name = read.cell.folder
        folder = self.out / name
        note = exports.read_note(folder)
        same = note is not None and note.export == read.key
        if find_result(folder):
            told.done.append(name)
            if not same:
                told.changed.append(name)
            return False
        if same and (folder / "job.json").is_file():
            told.kept.append(name)
            return False
        return True

    def _make(self, read: ReadJob, frames: Path, exported: Shot, told: Exported) -> None:
        """The job folder of ``read``; cell.json, written last, says that it is whole."""
        folder = self.out / read.cell.folder
        scene = bpy.data.scenes[read.request.scene]
        plate = scene.sequence_editor.strips_all[read.request.strip]
        asked = read.request.to_dict()
        choices = {"mattes": asked["mattes"], "span": asked["span"]}
        placement = Placement.of(scene, read.request)
        local = LocalJob(folder, read.settings, placement, choices, Phase.EXPORTING)
        try:
            make_room(folder)
            folder.mkdir(exist_ok=True)
            with Claim(folder):
                (folder / exports.CELL_FILE).unlink(missing_ok=True)
                local.write_origin()
                settings = take_pictures(folder, read.settings)
                settings.shot = exported
                exports.share(frames, folder)
                save_map(folder, plate, settings)
                job.create(folder, settings)
                cell = read.cell
                note = exports.CellNote(cell.shot.name, read.key, cell.shot.priority, cell.varied)
                note.write(folder)
        except JobBusy:
            told.busy.append(folder.name)
            return
        except OSError as error:
            raise from_os_error(error, "creating the job folder") from error
        told.made.append(folder.name)
