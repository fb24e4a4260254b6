# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix view and the blur map that is painted in it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, StringProperty

from .. import matrix_view
from ..core.errors import EngineMissing, NothingSelected, UnsupportedClip, WanError
from ..host import preferences
from ..hygiene.blur import MAX_RADIUS
from ..matrix_view.picture import find_image, frame_of, on_white, read_frame, read_image
from ..timeline import compat, shot, sources
from ..timeline.mattes import MatteChoice
from .base import PlateOperator, WanOperator
from .shot import offer


class ViewOperator(WanOperator):
    """Mixin: works on the frame in the matrix view: in the Image Editor that shows its map on
    whatever it is of, elsewhere only on that of the selected clip."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        view = matrix_view.view()
        if view is None or view.image is None:
            cls.poll_message_set("Open the matrix view of a clip first")
            return False
        if view.is_clip and getattr(context.space_data, "image", None) != view.image:
            name = _selected(context)
            if name != view.name:
                cls.poll_message_set(f"Open the matrix view of {name or 'a clip'} first")
                return False
        return True


def _selected(context: bpy.types.Context) -> str:
    try:
        return shot.find_plate(compat.sequencer_scene(context)).name
    except WanError:
        return ""


class WAN_OT_open_hygiene_view(PlateOperator, bpy.types.Operator):
    """Show fine detail in the selected clip's frame that may hold back motion. Paint white to blur lightly"""  # noqa: E501

    bl_idname = "wan.open_hygiene_view"
    bl_label = "Open Matrix View"
    bl_options = {"REGISTER", "UNDO"}  # else undoing the first stroke would take the map away

    image: StringProperty(
        name="Image",
        description="Name of an image to look at instead of the selected clip",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return _shows_image(context.space_data) or super().poll(context)

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        if self.image:
            image = find_image(self.image)
            view = matrix_view.open_view(scene, image, on_white(read_image(image)))
        else:
            plate = shot.find_plate(scene)
            sources.check(plate)
            frame = frame_of(scene, plate)
            view = matrix_view.open_view(scene, plate, read_frame(scene, plate, frame), frame)
        with contextlib.suppress(EngineMissing):  # the panel says that faces were not looked for
            view.look_for_faces(preferences.engine_python())
        matrix_view.follow_map()
        if not bpy.app.background:
            _show(context, view)


def _shows_image(space: bpy.types.Space | None) -> bool:
    return space is not None and space.type == "IMAGE_EDITOR" and space.image is not None


def _show(context: bpy.types.Context, view: matrix_view.View) -> None:
    """Show the blur map in an Image Editor, ready to be painted; open a window if there is none."""
    areas = [a for w in context.window_manager.windows for a in w.screen.areas]
    area = next((a for a in areas if a.type == "IMAGE_EDITOR"), None)
    if area is None:
        bpy.ops.wm.window_new()
        area = context.window_manager.windows[-1].screen.areas[0]
        area.type = "IMAGE_EDITOR"
    space = area.spaces.active
    space.image = view.image
    space.ui_mode = "PAINT"
    space.show_region_ui = True
    matrix_view.show_map()
    _set_brush(context.scene.tool_settings, view.gray)


def _set_brush(tools: bpy.types.ToolSettings, gray: float) -> None:
    """A gray that blurs lightly; the brush's usual black would paint nothing."""
    for owner in compat.paint_colors(tools):
        owner.color = (gray,) * 3


class WAN_OT_treat_hygiene(ViewOperator, bpy.types.Operator):
    """Blur the ticked regions just enough to match the detail around them"""

    bl_idname = "wan.treat_hygiene"
    bl_label = "Treat Ticked"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        cls.poll_message_set("The frame is still being analysed")
        return not matrix_view.view().busy

    def run(self, context: bpy.types.Context) -> None:
        view = matrix_view.require_view()
        chosen = view.sinks.ticked()
        if not chosen:
            raise NothingSelected("No region is ticked.", "Tick the regions to blur in the list.")
        view.treat(chosen, view.scene.wan.sampling.seed)


class WAN_OT_clear_hygiene(ViewOperator, bpy.types.Operator):
    """Clear the blur map: nothing is blurred"""

    bl_idname = "wan.clear_hygiene"
    bl_label = "Clear Blur Map"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        matrix_view.require_view().clear()


class WAN_OT_add_hygiene_matte(ViewOperator, bpy.types.Operator):
    """Lightly blur where a mask or another matte is white on this frame"""

    bl_idname = "wan.add_hygiene_matte"
    bl_label = "Blur Inside Matte"
    bl_options = {"REGISTER", "UNDO"}

    matte: EnumProperty(name="Matte", description="Where to blur", items=offer)
    radius: FloatProperty(
        name="Radius",
        description="Blur where the matte is white",
        default=1.0,
        min=0.0,
        max=MAX_RADIUS,
        subtype="PIXEL",
    )

    def run(self, context: bpy.types.Context) -> None:
        view = matrix_view.require_view()
        if not view.is_clip:
            raise UnsupportedClip(
                f"The image {view.name!r} is not a clip and has no mattes.", "Select a clip."
            )
        choice = MatteChoice(self.matte)
        values = matrix_view.read_matte(view.scene, view.owner, choice, view.frame, view.part)
        view.add(self.radius * values)


class WAN_OT_report_frequencies(ViewOperator, bpy.types.Operator):
    """Compare the fine detail of this frame with that of another picture, band by band: what a change of the image generator, or the blur, moved"""  # noqa: E501

    bl_idname = "wan.report_frequencies"
    bl_label = "Compare With Image"

    filepath: StringProperty(
        name="Image", description="Picture to compare with", subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )  # fmt: skip
    filter_image: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    treated: BoolProperty(
        name="Treated",
        description="Compare with the treated frame instead of a file",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return super().poll(context) and not matrix_view.view().questions.busy

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if self.treated or self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        view = matrix_view.require_view()
        other = None if self.treated else Path(bpy.path.abspath(self.filepath))
        if other and not other.is_file():
            raise UnsupportedClip(f"There is no picture at {other}.", "Choose an image file.")
        view.compare(preferences.engine_python(), other)
        matrix_view.follow_map()


class WAN_OT_save_treated_frame(ViewOperator, bpy.types.Operator):
    """Save the frame as it is blurred now, at generation size, as a PNG file"""

    bl_idname = "wan.save_treated_frame"
    bl_label = "Save Treated Frame"

    filepath: StringProperty(
        name="File", description="Where to save it", subtype="FILE_PATH", options={"SKIP_SAVE"}
    )
    filter_image: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    check_existing: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        name = bpy.path.clean_name(matrix_view.require_view().name)
        self.filepath = f"{name}-treated.png"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        view = matrix_view.require_view()
        path = Path(bpy.path.ensure_ext(bpy.path.abspath(self.filepath), ".png"))
        matrix_view.write_picture(path, view.treated_now())
        self.report({"INFO"}, f"Saved {path}")


CLASSES = (
    WAN_OT_open_hygiene_view,
    WAN_OT_treat_hygiene,
    WAN_OT_clear_hygiene,
    WAN_OT_add_hygiene_matte,
    WAN_OT_report_frequencies,
    WAN_OT_save_treated_frame,
)
