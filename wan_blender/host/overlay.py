# SPDX-License-Identifier: GPL-3.0-or-later
"""``window_manager.wan_mask``: whether the mask overlay is shown, and what keeps it up to date."""

from __future__ import annotations

import bpy
from bpy.app.handlers import persistent
from bpy.props import BoolProperty

from . import pump
from .interface import redraw
from .state import host


def redraw_overlay() -> None:
    redraw("SEQUENCE_EDITOR")


class WAN_PG_mask_view(bpy.types.PropertyGroup):
    def _show(self, context: bpy.types.Context | None) -> None:
        if self.show:
            pump.follow(host().mask_view, redraw_overlay)
        else:
            host().mask_view.close()
        redraw_overlay()

    show: BoolProperty(
        name="Mask Overlay",
        description="Show over the preview which latent cells the mask would generate",
        update=_show,
        options={"SKIP_SAVE"},
    )


@persistent
def _note_edit(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    if any(isinstance(update.id, bpy.types.Mask) for update in depsgraph.updates):
        host().mask_view.note_edit()


def register() -> None:
    bpy.utils.register_class(WAN_PG_mask_view)
    bpy.types.WindowManager.wan_mask = bpy.props.PointerProperty(type=WAN_PG_mask_view)
    bpy.app.handlers.depsgraph_update_post.append(_note_edit)


def unregister() -> None:
    bpy.app.handlers.depsgraph_update_post.remove(_note_edit)
    del bpy.types.WindowManager.wan_mask
    bpy.utils.unregister_class(WAN_PG_mask_view)
