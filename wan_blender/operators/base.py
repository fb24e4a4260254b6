# SPDX-License-Identifier: GPL-3.0-or-later
"""What all operators share: they do their work in ``run``, which may raise WanError."""

from __future__ import annotations

import bpy

from ..core.errors import WanError
from ..host.state import host
from ..timeline import compat, shot


class WanOperator:
    """Mixin: an error becomes the operator's report, with what to do about it."""

    bl_options = {"REGISTER"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            self.run(context)
        except WanError as error:
            host().session.error = error  # the panel keeps what the popup loses
            # Scripts get the report as a RuntimeError, and tell errors apart by their code.
            code = f"{error.code}: " if bpy.app.background else ""
            self.report({"ERROR"}, f"{code}{error}")
            return {"CANCELLED"}
        return {"FINISHED"}

    def run(self, context: bpy.types.Context) -> None:
        raise NotImplementedError


class PlateOperator(WanOperator):
    """Mixin: works on the selected plate, and says why it cannot when there is none."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        try:
            shot.find_plate(compat.sequencer_scene(context))
        except WanError as error:
            cls.poll_message_set(str(error))
            return False
        return True
