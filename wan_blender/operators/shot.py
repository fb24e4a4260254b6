# SPDX-License-Identifier: GPL-3.0-or-later
"""What is worked on: its task, its mattes, its frames, the overlay of its mask."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, IntProperty

from ..core.errors import WanError
from ..host import request, tasks
from ..host.state import host
from ..timeline import compat, mattes, shot
from .base import PlateOperator, WanOperator


class WAN_OT_setup_task(PlateOperator, bpy.types.Operator):
    """Set up the shot for this task"""

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
        description="Generate right away, without reviewing the settings",
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
            request.submit(request.read(scene, plate.name))


ICONS = {
    "mask_strip": "MOD_MASK",
    "modifier": "MODIFIER",
    "strip": "SEQUENCE",
    "mask": "MOD_MASK",
    "compositor": "NODE_COMPOSITING",
    "canvas": "FULLSCREEN_ENTER",
}
_offered: list[tuple] = []  # Blender keeps no reference to an enum's texts


def offer(self: bpy.types.Operator, context: bpy.types.Context | None) -> list[tuple]:
    """The mattes of the selected clip, as the items of an enum."""
    if context is None:
        return []
    scene = compat.sequencer_scene(context)
    try:
        found = mattes.list_mattes(scene, shot.find_plate(scene))
    except WanError:
        found = []
    _offered[:] = [
        (m.id, m.label, m.kind.replace("_", " ").capitalize(), ICONS[m.kind], number)
        for number, m in enumerate(found)
    ]
    return _offered


class WAN_OT_add_matte(WanOperator, bpy.types.Operator):
    """Add a matte that says where to generate in the selected strip"""

    bl_idname = "wan.add_matte"
    bl_label = "Add Matte"
    bl_options = {"REGISTER", "UNDO"}

    matte: EnumProperty(name="Matte", description="What to use as a matte", items=offer)

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        item = scene.wan.mattes.add()
        item.plate = shot.find_plate(scene).name
        item.matte = self.matte


class WAN_OT_remove_matte(WanOperator, bpy.types.Operator):
    """Remove this matte from the list"""

    bl_idname = "wan.remove_matte"
    bl_label = "Remove Matte"
    bl_options = {"REGISTER", "UNDO"}

    index: IntProperty(name="Index", description="Which of the chosen mattes", min=0)

    def run(self, context: bpy.types.Context) -> None:
        compat.sequencer_scene(context).wan.mattes.remove(self.index)


class WAN_OT_limit_frames(WanOperator, bpy.types.Operator):
    """Limit the mask to some frames of the timeline"""

    bl_idname = "wan.limit_frames"
    bl_label = "Limit Frames"
    bl_options = {"REGISTER", "UNDO"}

    which: EnumProperty(
        name="Which",
        description="Which frames the mask is used on",
        items=[
            ("from", "From Playhead", "Only the frame at the playhead and those after it"),
            ("until", "Until Playhead", "Only the frame at the playhead and those before it"),
            ("at", "At Playhead", "Only the frame at the playhead"),
            ("all", "All Frames", "Every frame that the mask has"),
        ],
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties):
        items = cls.bl_rna.properties["which"].enum_items
        return items[properties.which].description

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        now = scene.frame_current
        texts = {"from": f"{now}..", "until": f"..{now}", "at": f"{now}..{now}", "all": ""}
        scene.wan.mask.frames = texts[self.which]


class WAN_OT_update_overlay(PlateOperator, bpy.types.Operator):
    """Analyse the selected clip's mask and show what would be generated"""

    bl_idname = "wan.update_overlay"
    bl_label = "Update Overlay"

    def run(self, context: bpy.types.Context) -> None:
        context.window_manager.wan_mask.show = True
        host().mask_view.start(compat.sequencer_scene(context))


CLASSES = (
    WAN_OT_setup_task,
    WAN_OT_add_matte,
    WAN_OT_remove_matte,
    WAN_OT_limit_frames,
    WAN_OT_update_overlay,
)
