# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way from the timeline to a job: a click, a script, the command line, a pair of takes and
Run Again all ask ``read`` and ``submit``, and so get the same errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from ..core import job, schema
from ..core.errors import BadRequest
from ..core.settings import Job
from ..hygiene.maps import folder_without, without_hygiene
from ..timeline import mattes, shot
from ..timeline.place import Placement
from . import preferences, properties
from .blur_map import require_map, save_map
from .jobs import LocalJob, make_room, print_progress
from .state import host

SPAN = "span."  # settings of the export, not of the job


@dataclass(frozen=True)
class Overrides:
    """What a run takes instead of what the scene says: ``settings`` are dotted names and values,
    those of the group span say which frames the shot has; ``mattes`` are texts that
    ``timeline.mattes.read_choice`` reads. Empty ones change nothing."""

    settings: Sequence[tuple[str, Any]] = ()
    mattes: Sequence[str] = ()


@dataclass(frozen=True)
class JobRequest:
    """A shot and its settings, as far as they can be checked before the export. ``without`` are
    the settings of the take without hygiene, where a pair is asked for."""

    scene: bpy.types.Scene
    shot: shot.ShotRequest
    settings: Job
    without: Job | None = None

    @property
    def plate(self) -> bpy.types.Strip:
        return self.scene.sequence_editor.strips_all[self.shot.strip]

    @property
    def placement(self) -> Placement:
        return Placement.of(self.scene, self.shot)


def read(
    scene: bpy.types.Scene,
    strip: str | None = None,
    overrides: Overrides | None = None,
    pair: bool = False,
) -> JobRequest:
    """The shot of ``strip``, by default the selected one, with what the user set up for it and the
    ``overrides``; with ``pair`` also without hygiene. Raises WanError."""
    asked = overrides or Overrides()
    plate = shot.find_plate(scene, strip)
    choices = [mattes.read_choice(scene, plate, text) for text in asked.mattes]
    settings, span = properties.read(scene), properties.chosen_span(scene, plate.name)
    for path, value in asked.settings:
        if path.partition(".")[0] in job.WRITTEN:
            raise BadRequest(
                f"{path} is written by export and run, and cannot be set.",
                "Change the strip or the scene; the group span says which frames are taken.",
            )
        if path.startswith(SPAN):
            schema.assign(span, path.removeprefix(SPAN), value)
        else:
            schema.assign(settings, path, value)
    without = without_hygiene(settings) if pair else None
    require_map(settings, plate)
    wanted = properties.read_request(scene, plate, settings, choices, span)
    return JobRequest(scene, wanted, settings, without)


def submit(request: JobRequest, folder: Path | None = None, places: bool = True) -> LocalJob:
    """Queue the job in ``folder``, by default a new one, after the take without hygiene where a
    pair is asked for; in background mode run it to its end. ``places`` says whether the result
    goes on the timeline. Raises WanError."""
    folder = folder or job.new_folder(preferences.jobs_root(), request.shot.strip)
    make_room(folder)
    other = None
    if request.without:
        make_room(folder_without(folder), finished=True)
        other = _queue(request, request.without, folder_without(folder), places)
    return _queue(request, request.settings, folder, places, other)


def _queue(
    request: JobRequest,
    settings: Job,
    folder: Path,
    places: bool,
    compare_with: LocalJob | None = None,
) -> LocalJob:
    session = host().session
    local = session.submit(request.shot, settings, folder, request.placement)
    local.wants_placing = places
    save_map(folder, request.plate, settings)
    if compare_with:
        job.compare_with(folder, compare_with.folder)
    if bpy.app.background:
        session.run_to_end(local, print_progress())
    return local


def export(request: JobRequest, folder: Path) -> None:
    """Make the job folder, in this thread, and run nothing. Raises WanError, and then no folder
    stays."""
    make_room(folder)
    session = host().session
    session.export(request.shot, request.settings, folder, request.placement, print_progress())
    save_map(folder, request.plate, request.settings)
