# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..core import schema
from ..core.errors import BadRequest
from ..core.settings import Job
from ..host import properties
from ..timeline import compat
from ..timeline.mattes import MatteChoice
from ..timeline.span import Span
from ..timeline.takes import read_recipe
from .generate import generate
from .operator import WanOperator


class WAN_OT_run_again(WanOperator, bpy.types.Operator):
    """Take the settings back from the active result strip and generate its shot once more"""

    bl_idname = "wan.run_again"
    bl_label = "Run Again"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("Make a strip active that was generated here")
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
                f"The strip's recipe is damaged: {error}.", "Select its clip and generate anew."
            ) from error
        properties.write(scene, settings)
        properties.choose_mattes(scene, settings.shot.strip, choices)
        properties.choose_span(scene, settings.shot.strip, span)
        if span.kind == "still":
            scene.frame_set(settings.shot.frame_start)
        generate(scene, settings.shot.strip)
