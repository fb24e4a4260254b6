# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy

from ..core.errors import BadRequest
from ..host import properties
from ..host.library import library
from ..timeline import compat
from .operator import WanOperator


class WAN_OT_use_model_defaults(WanOperator, bpy.types.Operator):
    """Set steps, shift, guidance and stages as the model was released with"""

    bl_idname = "wan.use_model_defaults"
    bl_label = "Use Its Defaults"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        model = library().model(scene.wan.model.path)
        if not model or not model["defaults"]:
            raise BadRequest(
                "No defaults are known for this model.", "Set steps and shift yourself."
            )
        properties.assign(scene, model["defaults"])
