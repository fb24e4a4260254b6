# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panels show of the matrix view, and the timer and handlers that keep it going."""

from __future__ import annotations

import bpy
from bpy.app.handlers import persistent
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    IntVectorProperty,
    PointerProperty,
    StringProperty,
)

from ..host import pump
from ..host.blur_map import is_map, map_lineage
from ..process.task import Task
from . import thumbnails
from .view import View, close_view, view

TICK_S = 0.04  # while there is something to follow
IDLE_TICK_S = 1.0
VIEWS = [
    ("MATRIX", "Matrix", "What glows after the blur: fine detail that may hold the motion"),
    ("TREATED", "Treated", "The frame as the model will see it"),
    ("ORIGINAL", "Original", "The frame as it is"),
    ("WIPE", "Wipe", "Original on the left, treated on the right"),
    ("DIFFERENCE", "Difference", "What the blur takes away, four times amplified"),
    ("MAP", "Blur Map", "The map that is painted, by itself"),
]
BANDS = [
    ("ALL", "All Bands", "Detail of 2 to 16 pixels"),
    ("0", "2-4 px", "The finest detail: single threads, print, noise"),
    ("1", "4-8 px", "Knobs, laces, letters"),
    ("2", "8-16 px", "The coarsest detail that is analysed"),
]


_showing: list[bpy.types.SpaceImageEditor] = []  # while a step is undone
_shown: list[int] = []  # and the map


@persistent
def _keep_maps(*_: object) -> None:
    """Blender saves painted pixels only when they are packed."""
    for image in bpy.data.images:
        if is_map(image) and image.is_dirty:
            image.pack()


@persistent
def _leave_file(*_: object) -> None:
    close_view()


@persistent
def _before_undo(*_: object) -> None:
    """Another step may hold another map, and take away the one that is shown."""
    _showing[:] = [area.spaces.active for area in _areas()] if view() else []
    _shown[:] = _uid()


@persistent
def _after_undo(*_: object) -> None:
    image = view().image if view() else None
    for space in _showing:
        space.image = image
    if image and _shown != _uid():
        view().sinks.forget()


def _uid() -> list[int]:
    image = view().image if view() else None
    return [image.session_uid] if image else []


class _MapFollower(Task):
    """Draws what is painted on the map while a view is open."""

    @property
    def running(self) -> bool:
        return view() is not None

    def tick(self) -> bool:
        current, self.tick_s = view(), IDLE_TICK_S
        if current is None or current.image is None:  # it is gone with its strip; undo brings
            return False  # both back
        areas, part = _areas(), current.part
        if not areas and not (current.busy or current.waits_for_mask):
            return False
        self.tick_s = TICK_S
        changed = current.tick()
        for area in areas:
            replaced = area.spaces.active.image != current.image  # also by one of the same values
            if replaced:
                area.spaces.active.image = current.image
            if changed or replaced:
                area.tag_redraw()
        if current.part != part:
            show_map()
        return changed

    def close(self) -> None:
        close_view()


follower = _MapFollower()


def follow_map() -> None:
    """Draw what is painted on the map, from now on."""
    pump.follow(follower)


def _areas() -> list[bpy.types.Area]:
    """The Image Editors that show the map, in any of its states."""
    known = view().lineage
    return [
        area
        for window in bpy.context.window_manager.windows
        for area in window.screen.areas
        if area.type == "IMAGE_EDITOR" and map_lineage(area.spaces.active.image) == known
    ]


def show_map() -> None:
    """Fill the Image Editors that show the map with the part on view."""
    if not view().part.is_whole:
        _zoom_to(view(), (0, 0, *view().size))


class WAN_PG_sink(bpy.types.PropertyGroup):
    """A region of the matrix view, as the list shows it."""

    rank: IntProperty(options={"SKIP_SAVE"})
    icon: IntProperty(options={"SKIP_SAVE"})
    box: IntVectorProperty(size=4, options={"SKIP_SAVE"})
    area: IntProperty(subtype="PIXEL", options={"SKIP_SAVE"})
    score: FloatProperty(options={"SKIP_SAVE"})
    share: FloatProperty(subtype="FACTOR", options={"SKIP_SAVE"})
    treat: BoolProperty(name="Treat", description="Blur this region lightly", options={"SKIP_SAVE"})
    gentle: BoolProperty(
        name="Gentle",
        description="A face, an eye or a mouth: blur it a third as far as other things. Faces that "
        "were found are marked, what the detector missed is yours to mark",
        options={"SKIP_SAVE"},
    )
    radius: FloatProperty(options={"SKIP_SAVE"})
    warning: StringProperty(options={"SKIP_SAVE"})


def _redraw(self: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    if view():
        for area in _areas():
            area.tag_redraw()


def _zoom(self: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    """Show the chosen sink and as much again on each side."""
    if view() and self.sinks:
        x, y, w, h = self.sinks[self.active].box
        _zoom_to(view(), (x - w, y - h, x + 2 * w, y + 2 * h))


def _zoom_to(current: View, box: tuple[int, int, int, int]) -> None:
    """Fill the Image Editors that show the map with a box (x0, y0, x1, y1) of the view."""
    x0, y0, x1, y1 = current.part.on_canvas(box)
    shown = _areas()
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area in shown:
                region = next(r for r in area.regions if r.type == "WINDOW")
                at = region.view2d.view_to_region
                low, high = at(x0, 1 - y1, clip=False), at(x1, 1 - y0, clip=False)
                with bpy.context.temp_override(window=window, area=area, region=region):
                    bpy.ops.image.view_zoom_border(
                        xmin=low[0], xmax=high[0], ymin=low[1], ymax=high[1], zoom_out=False
                    )


class WAN_PG_matrix(bpy.types.PropertyGroup):
    """State of the matrix view: never in the file."""

    score: FloatProperty(options={"SKIP_SAVE"})
    sinks: CollectionProperty(type=WAN_PG_sink, options={"SKIP_SAVE"})
    active: IntProperty(name="Sink", update=_zoom, options={"SKIP_SAVE"})
    view: EnumProperty(
        name="View", description="What is drawn over the blur map", items=VIEWS, update=_redraw,
        options={"SKIP_SAVE"},
    )  # fmt: skip
    band: EnumProperty(
        name="Band", description="Period of the detail that the matrix shows", items=BANDS,
        update=_redraw, options={"SKIP_SAVE"},
    )  # fmt: skip
    wipe: FloatProperty(
        name="Wipe", description="Where original and treated meet", default=0.5, min=0, max=1,
        subtype="FACTOR", update=_redraw, options={"SKIP_SAVE"},
    )  # fmt: skip


CLASSES = (WAN_PG_sink, WAN_PG_matrix)


def register() -> None:
    thumbnails.register()
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.WindowManager.wan_matrix = PointerProperty(type=WAN_PG_matrix)
    bpy.app.handlers.save_pre.append(_keep_maps)
    bpy.app.handlers.load_pre.append(_leave_file)
    for handlers in (bpy.app.handlers.undo_pre, bpy.app.handlers.redo_pre):
        handlers.append(_before_undo)
    for handlers in (bpy.app.handlers.undo_post, bpy.app.handlers.redo_post):
        handlers.append(_after_undo)


def unregister() -> None:
    bpy.app.handlers.save_pre.remove(_keep_maps)
    bpy.app.handlers.load_pre.remove(_leave_file)
    for handlers in (bpy.app.handlers.undo_pre, bpy.app.handlers.redo_pre):
        handlers.remove(_before_undo)
    for handlers in (bpy.app.handlers.undo_post, bpy.app.handlers.redo_post):
        handlers.remove(_after_undo)
    close_view()
    del bpy.types.WindowManager.wan_matrix
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
    thumbnails.unregister()
