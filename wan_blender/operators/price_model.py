# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bpy
from bpy.props import StringProperty

from ..host.library import library
from .online import Online
from .operator import WanOperator


class WAN_OT_price_model(Online, WanOperator, bpy.types.Operator):
    """Ask how large this download is. Nothing is fetched yet"""

    bl_idname = "wan.price_model"
    bl_label = "Download"

    key: StringProperty(
        name="Key", description="What to download, as the catalogue calls it", options={"SKIP_SAVE"}
    )
    into: StringProperty(
        name="Into", description="Model folder that lacks this part", options={"SKIP_SAVE"}
    )

    def run(self, context: bpy.types.Context) -> None:
        library().price(self.key, self.into)
        if bpy.app.background:
            library().wait()
