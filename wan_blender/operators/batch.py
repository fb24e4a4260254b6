# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches: the selected strips as a manifest, and how a batch goes that runs elsewhere."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, IntProperty, StringProperty

from ..core.errors import BadRequest, WanError
from ..farm.draft import DraftShot, write_draft
from ..host import properties
from ..host.state import host
from ..timeline import compat, shot
from .base import WanOperator


class WAN_OT_write_batch(WanOperator, bpy.types.Operator):
    """Write the selected strips into a manifest, for a batch on this machine or on a farm. Nothing runs and the file stays as it is"""  # noqa: E501

    bl_idname = "wan.write_batch"
    bl_label = "Batch..."

    filepath: StringProperty(
        name="Manifest",
        description="The batch.toml to write",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )
    filter_glob: StringProperty(default="*.toml", options={"HIDDEN", "SKIP_SAVE"})
    check_existing: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    takes: IntProperty(
        name="Takes",
        description="Takes of each strip, with consecutive seeds",
        default=1, min=1, soft_max=20, max=1000,
    )  # fmt: skip

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not bpy.data.filepath:
            cls.poll_message_set("Save the file first: a batch reads it from disk")
            return False
        try:
            shot.find_plates(compat.sequencer_scene(context))
        except WanError as error:
            cls.poll_message_set(str(error))
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        blend = Path(bpy.data.filepath)
        self.filepath = str(blend.with_name(f"{blend.stem}-batch.toml"))
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        if not self.filepath:
            raise BadRequest("No file is named.", "Name the batch.toml to write.")
        path = Path(bpy.path.abspath(self.filepath)).absolute()
        path = path if path.suffix else path.with_suffix(".toml")
        settings = properties.read(scene)
        blend = Path(bpy.data.filepath)
        plates = shot.find_plates(scene)
        shots = [DraftShot(blend, scene.name, plate.name, settings.prompt.text) for plate in plates]
        write_draft(path, shots, settings.sampling.seed, self.takes)
        if bpy.data.is_dirty:
            self.report({"WARNING"}, "The batch reads the file as it is on disk: save it.")
        self.report(
            {"INFO"},
            f"{path.name}: {len(shots)} shots, {len(shots) * self.takes} jobs. Run it with "
            f'blender --command wan_blender batch --batch "{path}" --out FOLDER',
        )


class WAN_OT_follow_batch(WanOperator, bpy.types.Operator):
    """Follow a batch that runs in a terminal or on a farm, by its folder"""

    bl_idname = "wan.follow_batch"
    bl_label = "Follow Batch..."

    directory: StringProperty(
        name="Batch",
        description="Folder that the batch was exported into",
        subtype="DIR_PATH",
        options={"SKIP_SAVE"},
    )
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        folder = Path(bpy.path.abspath(self.directory)).absolute()
        if not folder.is_dir():
            raise BadRequest(f"There is no folder {folder}.", "Choose the one that was exported.")
        host().follow_batch(folder)


class WAN_OT_leave_batch(WanOperator, bpy.types.Operator):
    """Stop following the batch. It keeps running"""

    bl_idname = "wan.leave_batch"
    bl_label = "Leave Batch"

    def run(self, context: bpy.types.Context) -> None:
        host().leave_batch()


class WAN_OT_turn_batch_page(WanOperator, bpy.types.Operator):
    """List other jobs of the batch"""

    bl_idname = "wan.turn_batch_page"
    bl_label = "Turn Page"

    pages: IntProperty(
        name="Pages",
        description="How many pages to go on, or back where it is below 0",
        default=1,
        options={"SKIP_SAVE"},
    )

    def run(self, context: bpy.types.Context) -> None:
        if host().batch is None:
            raise BadRequest("No batch is followed.", "Follow one first.")
        host().batch.turn(self.pages)


class WAN_OT_open_batch_folder(WanOperator, bpy.types.Operator):
    """Show the folder of the batch: its jobs, and its report once there is one"""

    bl_idname = "wan.open_batch_folder"
    bl_label = "Open Batch Folder"

    def run(self, context: bpy.types.Context) -> None:
        if host().batch is None:
            raise BadRequest("No batch is followed.", "Follow one first.")
        bpy.ops.wm.path_open(filepath=str(host().batch.folder))


CLASSES = (
    WAN_OT_write_batch,
    WAN_OT_follow_batch,
    WAN_OT_leave_batch,
    WAN_OT_turn_batch_page,
    WAN_OT_open_batch_folder,
)
