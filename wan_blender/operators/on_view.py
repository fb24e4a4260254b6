# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators on the open matrix view share."""

from __future__ import annotations

import bpy

from .. import matrix_view
from ..core.errors import WanError
from ..timeline import compat, shot
from .operator import WanOperator


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
