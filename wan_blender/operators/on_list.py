# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators on a list of settings share."""

from __future__ import annotations

import bpy
from bpy.props import StringProperty

from ..core.errors import BadRequest


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
