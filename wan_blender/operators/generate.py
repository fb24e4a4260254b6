# SPDX-License-Identifier: GPL-3.0-or-later
"""From the timeline to a job: Generate, the pair with and without hygiene, and once more."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..core import console, schema
from ..core.errors import BadRequest
from ..core.settings import Job
from ..host import properties, request
from ..host.jobs import LocalJob
from ..timeline import compat
from ..timeline.mattes import MatteChoice
from ..timeline.span import Span
from ..timeline.takes import read_recipe
from .base import PlateOperator, WanOperator


class WAN_OT_generate(PlateOperator, bpy.types.Operator):
    """Generate the masked part of the selected strip and place it as a strip above"""

    bl_idname = "wan.generate"
    bl_label = "Generate"

    strip: StringProperty(
        name="Strip",
        description="Name of the strip to work on. Empty takes the selected one",
        options={"SKIP_SAVE"},
    )

    prompt: StringProperty(
        name="Prompt",
        description="What to generate inside the mask. Empty takes the scene's",
        options={"SKIP_SAVE"},
    )
    matte: StringProperty(
        name="Matte",
        description="What says where to generate: NAME[:luma|alpha][:add|subtract|intersect], "
        "several on lines of their own. Empty takes what is chosen for the strip",
        options={"SKIP_SAVE"},
    )
    out: StringProperty(
        name="Job Folder",
        description="Folder to make the job in: new, empty, or with an unfinished job, which is "
        "replaced. Empty takes a new one where the preferences say",
        subtype="DIR_PATH",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return bpy.app.background or super().poll(context)  # scripts name the strip

    def run(self, context: bpy.types.Context) -> None:
        try:
            local = self._generate(compat.sequencer_scene(context))
        except Exception as error:
            if bpy.app.background:
                console.say(console.failed(error), sys.stdout)
            raise
        if bpy.app.background:
            console.say(console.succeeded(**local.answer), sys.stdout)

    def _generate(self, scene: bpy.types.Scene) -> LocalJob:
        settings = [("prompt.text", self.prompt)] if self.prompt else []
        overrides = request.Overrides(settings, self.matte.splitlines())
        folder = Path(bpy.path.abspath(self.out)).absolute() if self.out else None
        asked = request.read(scene, self.strip or None, overrides)
        for note in asked.shot.notes:
            self.report({"WARNING"}, note)
        return request.submit(asked, folder)


class WAN_OT_compare_hygiene(PlateOperator, bpy.types.Operator):
    """Generate the selected clip twice with one seed, without hygiene and with it, as two strips, and measure what that did to motion, crawl and the first frame"""  # noqa: E501

    bl_idname = "wan.compare_hygiene"
    bl_label = "Generate With and Without"

    def run(self, context: bpy.types.Context) -> None:
        request.submit(request.read(compat.sequencer_scene(context), pair=True))


class WAN_OT_run_again(WanOperator, bpy.types.Operator):
    """Restore the settings of the active result strip and generate its shot again"""

    bl_idname = "wan.run_again"
    bl_label = "Run Again"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("Make a generated strip active")
        editor = compat.sequencer_scene(context).sequence_editor
        return bool(editor and editor.active_strip and read_recipe(editor.active_strip))

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        recipe = read_recipe(scene.sequence_editor.active_strip)
        try:
            settings = schema.from_dict(Job, recipe["job"], "recipe")
            choices = [MatteChoice(**choice) for choice in recipe["mattes"]]
            span = schema.from_dict(Span, recipe["span"], "recipe.span")
        except (KeyError, TypeError) as error:
            raise BadRequest(
                f"The strip's recipe is damaged: {error}.", "Select its clip and generate that."
            ) from error
        properties.write(scene, settings)
        properties.choose_mattes(scene, settings.shot.strip, choices)
        properties.choose_span(scene, settings.shot.strip, span)
        if span.kind == "still":
            scene.frame_set(settings.shot.frame_start)
        request.submit(request.read(scene, settings.shot.strip))


CLASSES = (
    WAN_OT_generate,
    WAN_OT_compare_hygiene,
    WAN_OT_run_again,
)
