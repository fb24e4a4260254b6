# SPDX-License-Identifier: GPL-3.0-or-later
"""The schedule of a run as a picture, and its stages: who takes which steps with what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy

from ..core import schema
from ..core.errors import WanError
from ..core.settings import Job, Stage
from ..host import properties
from ..host.estimate import Outlook
from ..host.interface import draw_wrapped
from ..host.state import host
from ..schedule.presets import Changes
from ..schedule.stages import StagePlan, experts
from ..timeline import compat
from . import schedule_plot
from .base import WanPanel, settings_column
from .model import draw_models
from .settings import draw_list, draw_settings

# Of a stage's numbers, the one that means "not set", and what holds then.
UNSET = {"steps": (0, "as many as fit"), "end": (-1, "by steps"), "guidance": (-1, "the run's")}
LORA_LISTS = {"WAN_MT_loras": "loras", "WAN_MT_stage_loras": "stages[{}].loras"}


class WAN_UL_stages(bpy.types.UIList):
    def draw_item(self, context, layout, data, item, icon, active_data, active_property, index=0):
        row = layout.row(align=True)
        row.prop(item, "name", text="", emboss=False, icon=schedule_plot.icon_of(index))
        share = row.row()
        share.alignment = "RIGHT"
        model = Path(item.model).name if item.model else "the run's model"
        share.label(text=f"{model}{'' if item.dtype == 'auto' else ', ' + item.dtype}")


class WAN_MT_stage_models(bpy.types.Menu):
    bl_label = "Model of the Stage"

    def draw(self, context: bpy.types.Context) -> None:
        wan = compat.sequencer_scene(context).wan
        own = self.layout.operator("wan.use_model", text="The run's model", icon="LOOP_BACK")
        own.path, own.stage = "", wan.active_stage
        self.layout.separator()
        draw_models(self.layout, wan.active_stage, wan.stages[wan.active_stage].model)


class LoraMenu:
    """Mixin: adds one of the LoRAs that were found to a list."""

    bl_label = "Add LoRA"

    def draw(self, context: bpy.types.Context) -> None:
        stage = compat.sequencer_scene(context).wan.active_stage
        path = LORA_LISTS[self.bl_idname].format(stage)
        for lora in host().library.files("lora"):
            text = lora.path.stem
            add = self.layout.operator("wan.add_lora", text=text, icon="ADD")
            add.path, add.filepath = path, str(lora.path)
        self.layout.separator()
        self.layout.operator("wan.add_lora", text="Choose a File", icon="FILE_FOLDER").path = path


class WAN_MT_loras(LoraMenu, bpy.types.Menu):
    bl_idname = "WAN_MT_loras"


class WAN_MT_stage_loras(LoraMenu, bpy.types.Menu):
    bl_idname = "WAN_MT_stage_loras"


class WAN_PT_schedule(WanPanel, bpy.types.Panel):
    bl_label = "Schedule"
    bl_order = 7
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        scene, layout = compat.sequencer_scene(context), self.layout
        layout.operator_menu_enum("wan.use_stages", "preset", text="Preset", icon="PRESET")
        try:
            view = host().estimate.outlook(scene)
        except WanError as error:
            draw_wrapped(layout, context, str(error), "ERROR")
            return
        boundary = view.traits.boundary if view.traits else None
        schedule_plot.draw(layout, context, view.plan, boundary)
        _draw_shares(layout, view.plan)
        if view.traits is None:
            draw_wrapped(
                layout, context, "This model has not been read yet: press Find Models.", "INFO"
            )


class WAN_PT_stages(WanPanel, bpy.types.Panel):
    bl_label = "Stages"
    bl_parent_id = "WAN_PT_schedule"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        wan, layout = compat.sequencer_scene(context).wan, self.layout
        row = layout.row()
        row.template_list("WAN_UL_stages", "", wan, "stages", wan, "active_stage", rows=3)
        column = row.column(align=True)
        column.operator("wan.add_item", text="", icon="ADD").path = "stages"
        if not wan.stages:
            draw_wrapped(
                layout, context, "Without stages, each expert takes the steps in its range.", "INFO"
            )
        if wan.active_stage >= len(wan.stages):
            return
        remove = column.operator("wan.remove_item", text="", icon="REMOVE")
        remove.path, remove.index = "stages", wan.active_stage
        for up, icon in ((True, "TRIA_UP"), (False, "TRIA_DOWN")):
            move = column.operator("wan.move_item", text="", icon=icon)
            move.path, move.index, move.up = "stages", wan.active_stage, up
        self._draw_stage(wan.stages[wan.active_stage], f"stages[{wan.active_stage}].")

    def _draw_stage(self, stage: bpy.types.PropertyGroup, path: str) -> None:
        layout = settings_column(self.layout)
        row = layout.row(align=True)
        row.prop(stage, "model")
        row.menu("WAN_MT_stage_models", text="", icon="DOWNARROW_HLT")
        leave_out = ("name", "model", "loras", *UNSET)
        for name, (unset, words) in UNSET.items():
            text = f" ({words})" if getattr(stage, name) == unset else ""
            layout.prop(stage, name, text=properties.label(name) + text)
        draw_settings(layout, stage, Stage, path, leave_out)
        _draw_loras(layout, stage, Stage, path, "WAN_MT_stage_loras")


class WAN_PT_loras(WanPanel, bpy.types.Panel):
    """LoRAs of the whole run."""

    bl_label = "LoRAs"
    bl_parent_id = "WAN_PT_schedule"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        wan = compat.sequencer_scene(context).wan
        _draw_loras(settings_column(self.layout), wan, Job, "", "WAN_MT_loras")


def _draw_loras(
    layout: bpy.types.UILayout, owner: bpy.types.PropertyGroup, cls: type, path: str, menu: str
) -> None:
    rules = dict(schema.settings(cls))["loras"]
    draw_list(layout, owner, "loras", rules, path, menu)


def _draw_shares(layout: bpy.types.UILayout, plan: StagePlan) -> None:
    """One line for each stage: its steps, noise levels, and how it differs."""
    column = layout.column(align=True)
    steps = len(plan.sigmas) - 1
    for number, span in enumerate(plan.spans):
        name = (span.stage.name or "all steps").capitalize()
        count = span.stop - span.start
        high, low = plan.sigmas[span.start], plan.sigmas[span.stop]
        text = f"{name}: {count} of {steps} steps, noise {high:.2f} to {low:.2f}"
        column.label(text=text, icon=schedule_plot.icon_of(number))


def draw_findings(layout: bpy.types.UILayout, context: bpy.types.Context, view: Outlook) -> None:
    """What practice advises against, each with its cure as a button."""
    for finding in view.findings:
        box = layout.box()
        draw_wrapped(box, context, finding.message, "INFO")
        if finding.fix:
            text = f"Fix: {_describe(finding.fix, view)}"
            box.operator("wan.fix_schedule", text=text, icon="CHECKMARK").rule = finding.rule


def _describe(fix: Changes, view: Outlook) -> str:
    """{"sampling.shift": 5.0} as "Shift 5", changes of stages as "High noise: steps 4"."""
    words = []
    for path, value in fix.items():
        if path == "stages":
            words += _describe_stages(value, view)
        elif path == "windows.frames" and value == 0:
            words.append(f"windows of {view.traits.native_frames} frames")
        else:
            words.append(f"{path.rpartition('.')[2]} {_number(value)}")
    text = ", ".join(words)
    return text[:1].upper() + text[1:]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _describe_stages(stages: list[Stage], view: Outlook) -> Iterator[str]:
    before = view.settings.stages or experts(view.traits.boundary)
    for number, (old, new) in enumerate(zip(before, stages), 1):
        changed = [name for name in UNSET if getattr(new, name) != getattr(old, name)]
        if changed:
            values = " and ".join(f"{name} {_number(getattr(new, name))}" for name in changed)
            yield f"{new.name or f'stage {number}'}: {values}"


CLASSES = (
    WAN_UL_stages,
    WAN_MT_stage_models,
    WAN_MT_loras,
    WAN_MT_stage_loras,
    WAN_PT_schedule,
    WAN_PT_stages,
    WAN_PT_loras,
)
