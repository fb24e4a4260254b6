# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty

from ..host import tasks
from ..timeline import compat, shot
from .generate import generate
from .operator import PlateOperator


class WAN_OT_setup_task(PlateOperator, bpy.types.Operator):
    """Set up the shot for a task"""

    bl_idname = "wan.setup_task"
    bl_label = "Set Up Task"
    bl_options = {"REGISTER", "UNDO"}

    task: EnumProperty(
        name="Task",
        description="What to do with the shot",
        items=[(name, task.label, task.about) for name, task in tasks.TASKS.items()],
        options={"HIDDEN"},  # from the redo panel a change would run the shot once more
    )
    run_at_once: BoolProperty(
        name="Generate",
        description="Generate at once, without a look at the settings",
        options={"SKIP_SAVE", "HIDDEN"},
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties):
        return f"{tasks.TASKS[properties.task].about}. Hold Alt to generate at once"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.run_at_once = event.alt
        return self.execute(context)

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        plate = shot.find_plate(scene)
        tasks.set_up(scene, plate, self.task)
        if self.run_at_once:
            generate(scene, plate.name)
