# SPDX-License-Identifier: GPL-3.0-or-later
"""New mattes: drawn over the sequencer's preview."""

from __future__ import annotations

import bpy
from bpy.props import CollectionProperty, EnumProperty

from ..core.errors import NothingSelected
from ..host import canvas_view, properties
from ..host.interface import redraw
from ..host.sketch import Sketch, shape_of
from ..host.state import host
from ..masks.outline import flatten
from ..timeline import compat, mask_shapes, shot
from .base import PlateOperator

SHAPES = [
    ("BOX", "Box", "Drag from corner to corner", "SELECT_SET", 0),
    ("ELLIPSE", "Ellipse", "Drag from corner to corner of its box", "MESH_CIRCLE", 1),
    ("LASSO", "Lasso", "Drag around it", "GREASEPENCIL", 2),
]
PASSED_ON = {"MIDDLEMOUSE", "WHEELUPMOUSE", "WHEELDOWNMOUSE", "TRACKPADPAN", "TRACKPADZOOM"}


class PreviewTool(PlateOperator):
    """Mixin: a tool that is used in the sequencer's preview until it is done or left with Escape.
    What it draws is ``host().sketch``."""

    hint = ""

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        found = canvas_view.find_preview(context.window)
        if found is None and context.area and context.area.type == "SEQUENCE_EDITOR":
            context.area.spaces.active.view_type = "SEQUENCER_PREVIEW"
            found = canvas_view.find_preview(context.window)
        if found is None:
            self.report({"ERROR"}, "No preview is shown. Show one in the sequencer to draw in it.")
            return {"CANCELLED"}
        self.area, self.region = found
        self.scene = compat.sequencer_scene(context)
        host().sketch = Sketch(self.scene.name)
        context.window.cursor_modal_set("CROSSHAIR")
        context.workspace.status_text_set(self.hint)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if event.type in {"ESC", "RIGHTMOUSE"} and event.value == "PRESS":
            return self.leave(context, {"CANCELLED"})
        if event.type in PASSED_ON:
            return {"PASS_THROUGH"}
        return self.use(context, event)

    def use(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        raise NotImplementedError

    def cancel(self, context: bpy.types.Context) -> None:
        self.leave(context, {"CANCELLED"})

    def leave(self, context: bpy.types.Context, how: set[str]) -> set[str]:
        host().sketch = None
        context.window.cursor_modal_restore()
        context.workspace.status_text_set(None)
        redraw("SEQUENCE_EDITOR")
        return how

    def place_of(self, event: bpy.types.Event) -> canvas_view.Point:
        """Of the mouse, on the canvas."""
        region = self.region
        x, y = event.mouse_x - region.x, event.mouse_y - region.y
        return canvas_view.to_canvas(self.scene, region, x, y)

    def is_over(self, event: bpy.types.Event) -> bool:
        """Whether the mouse is over the preview."""
        x, y = event.mouse_x - self.region.x, event.mouse_y - self.region.y
        return 0 <= x < self.region.width and 0 <= y < self.region.height


class WAN_OT_draw_matte(PreviewTool, bpy.types.Operator):
    """Draw where to generate over the preview: a mask and its muted strip above the clip"""

    bl_idname = "wan.draw_matte"
    bl_label = "New Matte"
    bl_options = {"REGISTER", "UNDO"}
    hint = "Drag over the preview to draw the matte. Escape: leave"

    shape: EnumProperty(name="Shape", description="What to draw", items=SHAPES)
    path: CollectionProperty(
        name="Path",
        description="What was drawn, in pixels of the canvas, y down",
        type=bpy.types.OperatorMousePath,
        options={"HIDDEN", "SKIP_SAVE"},
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties):
        about = {item[0]: item[2] for item in SHAPES}[properties.shape]
        return f"{about} in the preview: what is inside is generated"

    def use(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if event.type == "LEFTMOUSE" and event.value == "PRESS" and self.is_over(event):
            self.path.clear()
            self._add(event)
        elif event.type == "MOUSEMOVE" and self.path:
            self._add(event)
            host().sketch.lines = [flatten(shape_of(self.shape, self._points()))]
            redraw("SEQUENCE_EDITOR", "PREVIEW")
        elif event.type == "LEFTMOUSE" and event.value == "RELEASE" and self.path:
            return self.leave(context, self.execute(context))
        return {"RUNNING_MODAL"}

    def _add(self, event: bpy.types.Event) -> None:
        self.path.add().loc = self.place_of(event)

    def _points(self) -> list[canvas_view.Point]:
        return [tuple(item.loc) for item in self.path]

    def run(self, context: bpy.types.Context) -> None:
        if not self.path:
            raise NothingSelected("Nothing was drawn.", "Drag over the preview.")
        scene = compat.sequencer_scene(context)
        plate = shot.find_plate(scene)
        strip = mask_shapes.new_matte(scene, plate, [shape_of(self.shape, self._points())])
        properties.use_matte(scene, plate.name, strip.name)


CLASSES = (WAN_OT_draw_matte,)
