# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene's settings: their lists, presets, and fixes of the schedule."""

from __future__ import annotations

from pathlib import Path

import bpy
from bl_operators.presets import AddPresetBase
from bpy.props import BoolProperty, EnumProperty, IntProperty, StringProperty

from ..core import schema
from ..core.errors import BadRequest
from ..core.settings import Sampling
from ..host import properties
from ..host.state import host
from ..model_info.names import expert_of
from ..schedule.presets import PRESETS, preset
from ..timeline import compat
from .base import WanOperator


class OnList:
    """Mixin: the operator works on the list at ``path``, such as "stages[0].loras"."""

    path: StringProperty(
        name="Path", description="Where the list is in the scene's settings", options={"SKIP_SAVE"}
    )

    def items(self, scene: bpy.types.Scene) -> bpy.types.bpy_prop_collection:
        """Raises BadRequest when there is no such list."""
        try:
            return scene.wan.path_resolve(self.path)
        except ValueError as error:
            raise BadRequest(f"There is no list {self.path!r} in the settings.") from error


class WAN_OT_add_item(OnList, WanOperator, bpy.types.Operator):
    """Add an item to this list"""

    bl_idname = "wan.add_item"
    bl_label = "Add"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        self.items(compat.sequencer_scene(context)).add()


class WAN_OT_remove_item(OnList, WanOperator, bpy.types.Operator):
    """Remove this item from the list"""

    bl_idname = "wan.remove_item"
    bl_label = "Remove"
    bl_options = {"REGISTER", "UNDO"}

    index: IntProperty(name="Index", description="Which item of the list", min=0)

    def run(self, context: bpy.types.Context) -> None:
        self.items(compat.sequencer_scene(context)).remove(self.index)


class WAN_OT_move_item(OnList, WanOperator, bpy.types.Operator):
    """Move this item up or down the list"""

    bl_idname = "wan.move_item"
    bl_label = "Move"
    bl_options = {"REGISTER", "UNDO"}

    index: IntProperty(name="Index", description="Which item of the list", min=0)
    up: BoolProperty(name="Up", description="Towards the start of the list")

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        items, target = self.items(scene), self.index + (-1 if self.up else 1)
        if 0 <= target < len(items):
            items.move(self.index, target)
            if self.path == "stages":
                scene.wan.active_stage = target


class WAN_OT_add_lora(OnList, WanOperator, bpy.types.Operator):
    """Add a LoRA: to the run for the expert that its name says, to a stage as it is"""

    bl_idname = "wan.add_lora"
    bl_label = "Add LoRA"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(name="File", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.safetensors", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        file = Path(self.filepath)
        if file.suffix.lower() != ".safetensors":
            raise BadRequest(f"{self.filepath!r} is not a LoRA.", "Choose a .safetensors file.")
        item = self.items(compat.sequencer_scene(context)).add()
        of_run = self.path == "loras"  # a stage's expert may be called otherwise than the file's
        item.file, item.expert = self.filepath, (of_run and expert_of(file)) or "both"


class WAN_OT_add_sampling_preset(AddPresetBase, bpy.types.Operator):
    """Save the sampling settings, without the seed, as a preset"""

    bl_idname = "wan.add_sampling_preset"
    bl_label = "Add Sampling Preset"
    preset_menu = "WAN_MT_sampling_presets"
    preset_subdir = "wan/sampling"
    # Written into the preset, which Blender runs as a script of its own.
    preset_defines = [
        "scene = getattr(bpy.context, 'sequencer_scene', None) or bpy.context.scene",
        "sampling = scene.wan.sampling",
    ]
    preset_values = [f"sampling.{name}" for name, _ in schema.settings(Sampling) if name != "seed"]


class WAN_OT_use_stages(WanOperator, bpy.types.Operator):
    """Set up the run's stages from a preset"""

    bl_idname = "wan.use_stages"
    bl_label = "Use Stages"
    bl_options = {"REGISTER", "UNDO"}

    preset: EnumProperty(
        name="Preset",
        description="How the run is split",
        items=[(name, title, about) for name, (title, about, *_) in PRESETS.items()],
    )

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        path = bpy.path.abspath(scene.wan.model.path)
        traits = host().library.traits(path)
        boundary = traits.boundary if traits else None
        properties.assign(scene, preset(self.preset, boundary, host().library.fast_loras(path)))
        scene.wan.active_stage = 0


class WAN_OT_fix_schedule(WanOperator, bpy.types.Operator):
    """Change the settings as suggested"""

    bl_idname = "wan.fix_schedule"
    bl_label = "Fix"
    bl_options = {"REGISTER", "UNDO"}

    rule: StringProperty(name="Rule", description="Which remark", options={"SKIP_SAVE"})

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        properties.assign(scene, host().estimate.fix_of(scene, self.rule))


CLASSES = (
    WAN_OT_add_item,
    WAN_OT_remove_item,
    WAN_OT_move_item,
    WAN_OT_add_lora,
    WAN_OT_add_sampling_preset,
    WAN_OT_use_stages,
    WAN_OT_fix_schedule,
)
