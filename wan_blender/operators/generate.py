# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import StringProperty

from .. import event_pump, hygiene_view, job, preferences, properties
from ..local_job import LocalJob
from ..printed_progress import PrintedProgress
from ..timeline import compat, shot
from ..timeline.place import Placement
from .operator import PlateOperator


class WAN_OT_generate(PlateOperator, bpy.types.Operator):
    """Generate the masked part of the selected strip anew and place it as a strip above"""

    bl_idname = "wan.generate"
    bl_label = "Generate"

    strip: StringProperty(
        name="Strip",
        description="Name of the strip to work on. Empty takes the selected one",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return bpy.app.background or super().poll(context)  # scripts name the strip

    def run(self, context: bpy.types.Context) -> None:
        generate(compat.sequencer_scene(context), self.strip)


def generate(
    scene: bpy.types.Scene,
    strip: str,
    settings: job.Job | None = None,
    compare_with: LocalJob | None = None,
) -> LocalJob:
    """Queue the shot of ``strip`` with ``settings``, by default the scene's; "" is the selected
    one. In background mode also run it to its end. Raises WanError."""
    plate, settings = shot.find_plate(scene, strip or None), settings or properties.read(scene)
    hygiene_view.require_map(settings, plate)
    request = properties.read_request(scene, plate, settings)
    session = event_pump.session()
    local = session.submit(
        request,
        settings,
        job.new_folder(preferences.jobs_root(), plate.name),
        Placement.of(scene, request),
    )
    hygiene_view.save_map(local.folder, plate)
    if compare_with:
        job.compare_with(local.folder, compare_with.folder)
    if bpy.app.background:
        session.wait(local, PrintedProgress())
    return local
