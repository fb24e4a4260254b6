# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators that use the network share."""

from __future__ import annotations

import bpy

from ..host.library import library


class Online:
    """Mixin: only where Blender may go online, and one download at a time."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not bpy.app.online_access:
            cls.poll_message_set("Allow online access in Preferences > System > Network")
            return False
        cls.poll_message_set("A download is running")
        return library().progress("fetch") is None and library().progress("price") is None
